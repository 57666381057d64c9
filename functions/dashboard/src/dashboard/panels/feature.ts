/** The panels of a feature's metrics: what they are, and their course. */

import type { Feature, Metric } from "../model/facts";
import { type Integer, words } from "../model/format";
import { type Day, STEP_FIELDS, stepsOf } from "../model/period";
import type { Figure, Panel } from "../model/picture";
import { enumValue } from "../model/selection";
import type { PanelContext } from "./context";
import { figuresPicture, nowAndBefore, withUnit } from "./figures";
import { type Row, rowsOf } from "./rows";

const MAX_MEASURES = 20; // of one field: functions/graphql/types/usage_measures.py
const MAX_COURSES = 3 * MAX_MEASURES;

// Fields of a row of `aiUsage`, which no measure may be called.
const ROW_FIELDS = /^(total|users|features|returningUsers|previousPeriodUsers)Count$/;

/** Every metric of the feature as a figure, with its change and its course. */
export function metrics(context: PanelContext): Panel | null {
  const { feature, compared } = context;
  if (!feature?.metricsField || !feature.metrics.length) return null;
  const chosen = chosenMetric(context);
  // Counts are drawn before what is measured in payloads, which can take a store long.
  const parts = partsOf(feature).map(([name]) => nowAndBefore(context, name, `${feature.metricsField} { ...${name} }`));
  return {
    id: "metrics",
    title: "Metrics",
    wide: true,
    selections: [...parts.map(([now]) => now ?? ""), ...parts.flatMap((each) => each.slice(1)), ...courses(context)],
    needs: parts.slice(0, 1).map(([now]) => now ?? ""),
    fragments: partsOf(feature).map(
      ([name, of]) => `fragment ${name} on ${feature.metricsType} { ${of.map((metric) => metric.name).join(" ")} }`,
    ),
    read: (data) => {
      const now = valuesIn(feature, data, "");
      const before = valuesIn(feature, data, "Before");
      const drawn = coursesOf(context, data);
      const figures = feature.metrics.map((metric): Figure => {
        const { name, title, description, kind, unit } = metric;
        return {
          name,
          title,
          about: description,
          listed: kind === "list" ? context.formats.value(now[name], kind) : undefined,
          kind: kind === "list" ? "integer" : kind,
          unit,
          value: sizeOrValue(now[name]),
          before: compared ? sizeOrValue(before[name]) : undefined,
          course: drawn.get(name)?.map(([, value]) => value) ?? [],
          href: context.link({ metric: name }),
          chosen: name === chosen?.name,
        };
      });
      return figuresPicture(context, figures);
    },
  };
}

/** The metrics that are counted, and those that are measured in payloads. */
function partsOf(feature: Feature): [string, Metric[]][] {
  const parts: [string, Metric[]][] = [
    ["counts", feature.metrics.filter(({ isCount }) => isCount)],
    ["measured", feature.metrics.filter(({ isCount }) => !isCount)],
  ];
  return parts.filter(([, of]) => of.length);
}

function valuesIn(feature: Feature, data: Record<string, unknown>, when: string): Record<string, unknown> {
  const of = ({ metricsField }: Feature, alias: string) =>
    (data[alias] as Record<string, object> | undefined)?.[metricsField ?? ""] ?? {};
  return Object.assign({}, ...partsOf(feature).map(([name]) => of(feature, `${name}${when}`)));
}

/** The course of the chosen metric; the panel of the metrics has asked for it. */
export function metricCourse(context: PanelContext): Panel | null {
  const metric = chosenMetric(context);
  const selections = courses(context);
  if (!metric || !selections.length) return null;
  const { formats, step } = context;
  const kind = metric.kind === "list" ? "integer" : metric.kind;
  const { unit } = metric;
  return {
    id: "course",
    title: metric.title,
    about: metric.description,
    wide: true,
    selections,
    read: (data) => {
      const values = coursesOf(context, data).get(metric.name) ?? [];
      return {
        chart: {
          type: "lines",
          step,
          kind,
          unit,
          series: [metric.title],
          points: values.map(([day, value]) => ({
            day,
            series: metric.title,
            value: value as Integer | null,
            shown: formats.value(value, kind, unit),
          })),
        },
        table: {
          columns: [
            { title: words(step), kind: "day" },
            { title: withUnit(metric.title, unit), kind },
          ],
          rows: values.map((each) => [...each]),
        },
      };
    },
  };
}

/** The metrics by step, as many to a field as it takes. */
function courses(context: PanelContext): string[] {
  const { feature, scope, step } = context;
  if (!feature?.metricsField || !context.has("aiUsage", { measures: [] })) return [];
  return groupsOf(feature, context).map((group, index) => {
    const measures = group.map(({ name }) => ({ name: measureName(name), metric: `${feature.metricsField}.${name}` }));
    return scope.field(
      `course${index}`,
      "aiUsage",
      {
        groupBy: [enumValue(step)],
        measures: scope.variable(`measures${index}`, "[AiUsageMeasure!]", measures),
        ...context.given(),
        first: 1000,
      },
      `${STEP_FIELDS[step]} measures { name value }`,
    );
  });
}

/** The metrics whose courses are drawn, the chosen one among them. */
function groupsOf(feature: Feature, context: PanelContext): Metric[][] {
  const chosen = chosenMetric(context);
  const drawn = feature.metrics.slice(0, MAX_COURSES);
  if (chosen && !drawn.includes(chosen)) drawn.splice(-1, 1, chosen);
  const groups: Metric[][] = [];
  for (let first = 0; first < drawn.length; first += MAX_MEASURES) {
    groups.push(drawn.slice(first, first + MAX_MEASURES));
  }
  return groups;
}

/** The value of each drawn metric in each step; where there are no events, zero or none. */
function coursesOf(context: PanelContext, data: Record<string, unknown>): Map<string, [Day, unknown][]> {
  const { feature, period, step } = context;
  const courses = new Map<string, [Day, unknown][]>();
  if (!feature) return courses;
  groupsOf(feature, context).forEach((group, index) => {
    if (!data[`course${index}`]) return;
    const byDay = new Map(rowsOf(data, `course${index}`).map((row) => [row[STEP_FIELDS[step]], valuesOf(row)]));
    for (const { name, nullable } of group) {
      const course = stepsOf(period, step).map((day): [Day, unknown] => {
        const values = byDay.get(day);
        return [day, values ? (values.get(measureName(name)) ?? null) : nullable ? null : 0];
      });
      courses.set(name, course);
    }
  });
  return courses;
}

const valuesOf = (row: Row) => new Map((row.measures ?? []).map(({ name, value }) => [name, value]));

const measureName = (name: string) => (ROW_FIELDS.test(name) ? `${name}_` : name);

/** A list by its size. */
function sizeOrValue(value: unknown): unknown {
  return Array.isArray(value) ? value.length : value;
}

function chosenMetric({ feature, state }: PanelContext): Metric | null {
  return feature?.metrics.find(({ name }) => name === state.metric) ?? feature?.metrics[0] ?? null;
}
