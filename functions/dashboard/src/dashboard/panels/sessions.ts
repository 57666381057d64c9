/** Sessions: their figures, and the same in groups. */

import { type Integer, words } from "../model/format";
import { STEP_FIELDS, stepsOf } from "../model/period";
import type { Chart, Panel } from "../model/picture";
import type { Table } from "../model/table";
import type { PanelContext } from "./context";
import { figuresPicture } from "./figures";
import { byFeature, type Grouping, type GroupRow, groupingOf, groupOf } from "./groups";
import { rowsOf } from "./rows";

const FIGURES = [
  ["sessionsCount", "Sessions", "integer"],
  ["usersCount", "Users", "integer"],
  ["completionRate", "Completion rate", "rate"],
  ["abandonmentRate", "Abandonment rate", "rate"],
  ["openRate", "Still open", "rate"],
  ["medianDuration", "Median duration", "seconds"],
  ["p95Duration", "95th percentile of duration", "seconds"],
] as const;

const OUTCOMES = ["completedCount", "abandonedCount", "openCount"];
const SELECTION = [...FIGURES.map(([name]) => name), ...OUTCOMES].join(" ");
const SHOWN = 15;

/** The feature's sessions; null if the schema knows none. */
export function sessions(context: PanelContext): Panel | null {
  const given = context.given();
  const { compared, scope } = context;
  if (!hasSessions(context)) return null;
  return {
    id: "sessions",
    title: "Sessions",
    optional: true,
    wide: true,
    needs: [scope.field("sessions", "aiSessions", given, SELECTION)],
    selections: [
      scope.field("sessions", "aiSessions", given, SELECTION),
      ...(compared ? [scope.field("sessionsBefore", "aiSessions", context.given(compared), SELECTION)] : []),
    ],
    read: (data) => {
      const [now] = rowsOf<GroupRow>(data, "sessions").map(judged);
      const [before] = rowsOf<GroupRow>(data, "sessionsBefore").map(judged);
      const isNone = [now, before].every((each) => !Number(each?.sessionsCount ?? 0));
      return figuresPicture(
        context,
        (isNone ? [] : FIGURES).map(([name, title, kind]) => ({
          name,
          title,
          kind,
          value: now?.[name] ?? null,
          before: compared ? before?.[name] : undefined,
        })),
      );
    },
  };
}

/** The feature's sessions in the groups that the page is broken down by; null if the schema knows none. */
export function sessionsByGroup(context: PanelContext): Panel | null {
  const grouping = groupingOf(context);
  if (!grouping || !hasSessions(context)) return null;
  const isOverTime = groupOf(context) === "time";
  return {
    id: "sessions-by",
    title: `Sessions by ${grouping.title}`,
    about: "With the share that was completed.",
    optional: true,
    wide: isOverTime,
    selections: [
      context.scope.field(
        "sessionsBy",
        "aiSessions",
        { ...grouping.given, ...context.given(), first: isOverTime ? 1000 : SHOWN },
        `${grouping.selection} ${SELECTION}`,
      ),
    ],
    follow: (data) => grouping.follow(rowsOf(data, "sessionsBy")),
    read: (data) => {
      const found = rowsOf<GroupRow>(data, "sessionsBy").map(judged);
      const rows = isOverTime && found.length ? inTime(context, found) : found;
      return {
        chart: isOverTime ? course(context, rows) : bars(context, rows, grouping, data),
        table: tableOf(rows, grouping, data),
      };
    },
  };
}

/** The sessions of each feature; null if the schema knows none. */
export function sessionsByFeature(context: PanelContext): Panel | null {
  if (!hasSessions(context)) return null;
  const grouping = byFeature(context);
  return {
    id: "sessions",
    title: "Sessions",
    about: "Of the features that have them, with the share that was completed.",
    optional: true,
    selections: [
      context.scope.field(
        "sessions",
        "aiSessions",
        { ...grouping.given, ...context.given(), first: 100 },
        `${grouping.selection} ${SELECTION}`,
      ),
    ],
    read: (data) => {
      const rows = rowsOf<GroupRow>(data, "sessions").map(judged);
      return { chart: bars(context, rows, grouping, data), table: tableOf(rows, grouping, data) };
    },
  };
}

/** The row without rates, where the definition does not say what begins and ends a session. */
function judged(row: GroupRow): GroupRow {
  if (OUTCOMES.some((name) => Number(row[name] ?? 0) > 0)) return row;
  return { ...row, completionRate: null, abandonmentRate: null, openRate: null };
}

function hasSessions(context: PanelContext): boolean {
  return context.has("aiSessions", { groupBy: [], ...context.given() }, "sessionsCount");
}

function bars(
  { formats }: PanelContext,
  rows: readonly GroupRow[],
  grouping: Grouping,
  data: Record<string, unknown>,
): Chart {
  return {
    type: "bars",
    bars: rows.map((row) => ({
      label: grouping.labelOf(row, data),
      value: row.sessionsCount as Integer,
      shown: [
        formats.value(row.sessionsCount, "integer"),
        ...(row.completionRate === null ? [] : [formats.value(row.completionRate, "rate")]),
      ].join(" · "),
      href: grouping.hrefOf(row),
    })),
  };
}

const COURSES = [
  ["sessionsCount", "Begun"],
  ["completedCount", "Completed"],
] as const;

function course({ formats, step }: PanelContext, rows: readonly GroupRow[]): Chart {
  const points = rows.flatMap((row) =>
    COURSES.map(([name, series]) => {
      const value = (row[name] ?? 0) as Integer;
      return { day: row[STEP_FIELDS[step]] as string, series, value, shown: formats.integer(value) };
    }),
  );
  return { type: "lines", step, kind: "integer", series: COURSES.map(([, series]) => series), points };
}

/** A row for each step of the period, also where no session began. */
function inTime({ period, step }: PanelContext, rows: readonly GroupRow[]): GroupRow[] {
  const field = STEP_FIELDS[step];
  const byDay = new Map(rows.map((row) => [row[field], row]));
  return stepsOf(period, step).map((day) => byDay.get(day) ?? { [field]: day, sessionsCount: 0, usersCount: 0 });
}

function tableOf(rows: readonly GroupRow[], grouping: Grouping, data: Record<string, unknown>): Table {
  return {
    columns: [
      { title: words(grouping.title), kind: grouping.kind },
      ...FIGURES.map(([, title, kind]) => ({ title, kind })),
    ],
    rows: rows.map((row) => [
      grouping.kind === "text" ? grouping.labelOf(row, data) : grouping.keyOf(row),
      ...FIGURES.map(([name]) => row[name] ?? null),
    ]),
    links: rows.map(grouping.hrefOf),
  };
}
