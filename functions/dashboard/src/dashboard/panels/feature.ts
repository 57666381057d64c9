/** The panels of a feature: its metrics and their course, its sessions, its newest events. */

import type { Metric } from "../model/facts";
import { type Integer, words } from "../model/format";
import { type Period, stepsOf, within } from "../model/period";
import type { Figure, Panel } from "../model/picture";
import type { PanelContext } from "./context";
import { figuresPicture, nowAndBefore } from "./figures";
import { rowsOf } from "./rows";

const MAX_COURSE = 32; // the API answers at most 50 aliases
const MAX_FILTERED_COURSE = 14; // and 10,000 characters

/** The periods of a course: the page's steps, joined where there are too many. */
export function coursePeriods(context: PanelContext): Period[] {
  const { period, step } = context;
  const steps = stepsOf(period, step).map((start) => within(start, step, period));
  const size = Math.ceil(steps.length / (context.state.filters.length ? MAX_FILTERED_COURSE : MAX_COURSE));
  const joined: Period[] = [];
  for (let first = 0; first < steps.length; first += size) {
    const last = steps[Math.min(first + size, steps.length) - 1];
    joined.push({ start: (steps[first] as Period).start, end: (last as Period).end });
  }
  return joined;
}

/** Every metric of the feature as a figure, with its change and its course. */
export function metrics(context: PanelContext): Panel | null {
  const { feature, scope } = context;
  if (!feature?.metricsField || !feature.metrics.length) return null;
  const { metricsField, metricsType } = feature;
  const periods = coursePeriods(context);
  const selection = `${metricsField} { ...figures }`;
  const chosen = chosenMetric(context);
  return {
    id: "metrics",
    title: "Metrics",
    wide: true,
    selections: [
      ...nowAndBefore(context, "metrics", selection),
      ...periods.map((period, index) => scope.field(`course${index}`, "aiMetrics", context.given(period), selection)),
    ],
    fragments: [`fragment figures on ${metricsType} { ${feature.metrics.map(({ name }) => name).join(" ")} }`],
    read: (data) => {
      const of = (alias: string) =>
        ((data[alias] as Record<string, unknown> | undefined)?.[metricsField] ?? {}) as Record<string, unknown>;
      const courses = periods.map((_, index) => of(`course${index}`));
      const figures = feature.metrics.map(
        ({ name, title, description, kind }): Figure => ({
          name,
          title,
          about: kind === "list" ? `${description} ${context.formats.value(of("metrics")[name], kind)}` : description,
          kind: kind === "list" ? "integer" : kind,
          value: sizeOrValue(of("metrics")[name]),
          before: context.compared ? sizeOrValue(of("metricsBefore")[name]) : undefined,
          course: courses.map((values) => sizeOrValue(values[name])),
          href: context.link({ metric: name }),
          chosen: name === chosen?.name,
        }),
      );
      return { ...figuresPicture(context, figures) };
    },
  };
}

/** The course of the chosen metric; the panel of the metrics has asked for it. */
export function metricCourse(context: PanelContext): Panel | null {
  const of = metrics(context);
  const metric = chosenMetric(context);
  const { feature, formats, step } = context;
  if (!of || !metric || !feature?.metricsField) return null;
  const periods = coursePeriods(context);
  const kind = metric.kind === "list" ? "integer" : metric.kind;
  return {
    id: "course",
    title: metric.title,
    about: metric.description,
    wide: true,
    selections: of.selections.slice(-periods.length),
    fragments: of.fragments ?? [],
    read: (data) => {
      const values = periods.map(({ start }, index) => {
        const answer = data[`course${index}`] as Record<string, Record<string, unknown>>;
        return [start, sizeOrValue(answer[feature.metricsField as string]?.[metric.name])] as const;
      });
      return {
        chart: {
          type: "lines",
          step,
          kind,
          series: [metric.title],
          points: values.map(([day, value]) => ({
            day,
            series: metric.title,
            value: value as Integer | null,
            shown: formats.value(value, kind),
          })),
        },
        table: {
          columns: [
            { title: words(step), kind: "day" },
            { title: metric.title, kind },
          ],
          rows: values.map((each) => [...each]),
        },
      };
    },
  };
}

/** A list by its size. */
function sizeOrValue(value: unknown): unknown {
  return Array.isArray(value) ? value.length : (value ?? null);
}

function chosenMetric({ feature, state }: PanelContext): Metric | null {
  return feature?.metrics.find(({ name }) => name === state.metric) ?? feature?.metrics[0] ?? null;
}

const SESSIONS = [
  ["sessionsCount", "integer"],
  ["usersCount", "integer"],
  ["completionRate", "rate"],
  ["abandonmentRate", "rate"],
  ["medianDuration", "seconds"],
  ["p95Duration", "seconds"],
] as const;

/** The feature's sessions; null if the schema knows none. */
export function sessions(context: PanelContext): Panel | null {
  const given = context.given();
  const { compared, scope } = context;
  if (!context.has("aiSessions", given, "sessionsCount")) return null;
  const known = SESSIONS.filter(([name]) => context.has("aiSessions", given, name));
  const selection = known.map(([name]) => name).join(" ");
  return {
    id: "sessions",
    title: "Sessions",
    optional: true,
    wide: true,
    selections: [
      scope.field("sessions", "aiSessions", given, selection),
      ...(compared ? [scope.field("sessionsBefore", "aiSessions", context.given(compared), selection)] : []),
    ],
    read: (data) => {
      const [now] = rowsOf<Record<string, unknown>>(data, "sessions");
      const [before] = rowsOf<Record<string, unknown>>(data, "sessionsBefore");
      const isNone = [now, before].every((each) => !Number(each?.sessionsCount ?? 0));
      return figuresPicture(
        context,
        (isNone ? [] : known).map(([name, kind]) => ({
          name,
          title: words(name),
          kind,
          value: now?.[name] ?? null,
          before: compared ? before?.[name] : undefined,
        })),
      );
    },
  };
}
