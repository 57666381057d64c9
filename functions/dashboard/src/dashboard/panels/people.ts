/** People over time: who is active, new, back and lost, and who stays. */

import { type Integer, words } from "../model/format";
import { addDays } from "../model/period";
import type { Panel } from "../model/picture";
import { enumValue } from "../model/selection";
import type { PanelContext } from "./context";
import { pivot, point, pointsOverTime, type Row, rowsOf, type Values } from "./rows";

const ACTIVE = [
  ["dailyUsersCount", "On the day"],
  ["weeklyUsersCount", "In 7 days"],
  ["monthlyUsersCount", "In 28 days"],
] as const;

/** Active users by day and by rolling windows; by step where the schema has no windows. */
export function activeUsers(context: PanelContext): Panel {
  const given = context.given();
  if (!context.has("aiActiveUsers", given)) return usersByStep(context);
  return {
    id: "active-users",
    title: "Active users",
    about: "People with at least one event: on the day, and in the 7 and 28 days that end with it.",
    wide: true,
    selections: [
      context.scope.field(
        "activeUsers",
        "aiActiveUsers",
        given,
        "date dailyUsersCount weeklyUsersCount monthlyUsersCount stickiness",
      ),
    ],
    read: (data) => {
      const rows = rowsOf<Values>(data, "activeUsers");
      const points = rows.flatMap((row) => ACTIVE.map(([field, series]) => point(context, row, "date", field, series)));
      const fields = [...ACTIVE.map(([field]) => field), "stickiness"];
      return {
        chart: { type: "lines", step: "DAY", kind: "integer", series: ACTIVE.map(([, title]) => title), points },
        table: {
          columns: [
            { title: "Day", kind: "day" },
            ...ACTIVE.map(([, title]) => ({ title, kind: "integer" as const })),
            { title: "Stickiness", kind: "rate" },
          ],
          rows: rows.map((row) => [row.date, ...fields.map((field) => row[field])]),
        },
      };
    },
  };
}

function usersByStep(context: PanelContext): Panel {
  const series = ["Active users"];
  return {
    id: "active-users",
    title: "Active users",
    about: "People with at least one event.",
    wide: true,
    selections: [
      context.scope.field(
        "activeUsers",
        "aiUsage",
        { groupBy: [enumValue(context.step)], ...context.given(), first: 1000 },
        `${context.step.toLowerCase()} usersCount`,
      ),
    ],
    read: (data) => {
      const points = pointsOverTime(
        context,
        rowsOf(data, "activeUsers"),
        () => "Active users",
        (row) => row.usersCount ?? 0,
        series,
      );
      return {
        chart: { type: "lines", step: context.step, kind: "integer", series, points },
        table: {
          columns: [
            { title: words(context.step), kind: "day" },
            { title: "Active users", kind: "integer" },
          ],
          rows: pivot(points, series),
        },
      };
    },
  };
}

const LIFECYCLE = [
  ["newUsersCount", "New"],
  ["returningUsersCount", "Returning"],
  ["resurrectedUsersCount", "Back after a pause"],
] as const;

/** New, returning, resurrected and lapsed users; just returning and other ones where the schema knows no more. */
export function newAndReturning(context: PanelContext): Panel {
  const given = { period: enumValue(periodUnit(context)), ...context.given() };
  const series = LIFECYCLE.map(([, title]) => title);
  if (!context.has("aiUserLifecycle", given)) return returningOrNot(context);
  return {
    id: "lifecycle",
    title: "New and returning users",
    about: "Lapsed are those who were active in the period before and are not in this one.",
    selections: [
      context.scope.field(
        "lifecycle",
        "aiUserLifecycle",
        given,
        "periodStart newUsersCount returningUsersCount resurrectedUsersCount lapsedUsersCount",
      ),
    ],
    read: (data) => {
      const rows = rowsOf<Values>(data, "lifecycle");
      const points = rows.flatMap((row) =>
        LIFECYCLE.map(([field, name]) => point(context, row, "periodStart", field, name)),
      );
      return {
        chart: { type: "stacked", step: periodUnit(context), kind: "integer", series, points },
        table: {
          columns: [
            { title: words(periodUnit(context)), kind: "day" },
            ...[...series, "Lapsed"].map((title) => ({ title, kind: "integer" as const })),
          ],
          rows: rows.map((row) => [row.periodStart, ...LIFECYCLE.map(([field]) => row[field]), row.lapsedUsersCount]),
        },
      };
    },
  };
}

const RETURNING = ["In the period before too", "Not in the period before"];

function returningOrNot(context: PanelContext): Panel {
  const unit = periodUnit(context);
  const [returning, others] = RETURNING;
  return {
    id: "lifecycle",
    title: "New and returning users",
    about: `Whether the users of a ${unit.toLowerCase()} were active in the one before too.`,
    selections: [
      context.scope.field(
        "lifecycle",
        "aiUsage",
        { groupBy: [enumValue(unit)], ...context.given(), first: 1000 },
        `${unit.toLowerCase()} usersCount returningUsersCount`,
      ),
    ],
    read: (data) => {
      const counted = rowsOf(data, "lifecycle").flatMap((row) => {
        const back = Number(row.returningUsersCount ?? 0);
        return [
          { ...row, event: returning, totalCount: back },
          { ...row, event: others, totalCount: Number(row.usersCount ?? 0) - back },
        ] as Row[];
      });
      const points = pointsOverTime(
        context,
        counted,
        (row) => row.event ?? "",
        (row) => row.totalCount ?? 0,
        RETURNING,
        unit,
      );
      return {
        chart: { type: "stacked", step: unit, kind: "integer", series: RETURNING, points },
        table: {
          columns: [
            { title: words(unit), kind: "day" },
            ...RETURNING.map((title) => ({ title, kind: "integer" as const })),
          ],
          rows: pivot(points, RETURNING),
        },
      };
    },
  };
}

interface Cohort {
  cohortStart: string;
  usersCount: Integer;
  periods: { offset: number; usersCount: Integer; rate: number | null }[];
}

/** Which share of those who began in a period was active in the ones after it; null if the schema doesn't know. */
export function retention(context: PanelContext): Panel | null {
  const unit = context.step === "MONTH" ? "MONTH" : "WEEK";
  const given = { period: enumValue(unit), ...context.given() };
  if (!context.has("aiUserRetention", given)) return null;
  const { formats } = context;
  return {
    id: "retention",
    title: "Retention",
    about: `Of those whose first event was in a ${unit.toLowerCase()}, the share active that many ${unit.toLowerCase()}s later.`,
    wide: true,
    selections: [
      context.scope.field(
        "retention",
        "aiUserRetention",
        given,
        "cohortStart usersCount periods { offset usersCount rate }",
      ),
    ],
    read: (data) => {
      const cohorts = rowsOf<Cohort>(data, "retention").filter(({ usersCount }) => Number(usersCount) > 0);
      const width = Math.max(0, ...cohorts.map(({ periods }) => periods.length));
      return {
        chart: {
          type: "triangle",
          rows: cohorts.map(({ cohortStart, usersCount, periods }) => ({
            label: formats.day(cohortStart),
            size: formats.integer(usersCount),
            cells: Array.from({ length: width }, (_, index) => {
              const period = periods[index];
              return period ? { share: period.rate ?? 0, shown: formats.value(period.rate, "rate") } : null;
            }),
          })),
        },
        table: {
          columns: [
            { title: "First used in", kind: "day" },
            { title: "Users", kind: "integer" },
            ...Array.from({ length: width }, (_, index) => ({ title: `+${index}`, kind: "rate" as const })),
          ],
          rows: cohorts.map(({ cohortStart, usersCount, periods }) => [
            cohortStart,
            usersCount,
            ...Array.from({ length: width }, (_, index) => periods[index]?.rate ?? null),
          ]),
        },
      };
    },
  };
}

const THRESHOLDS = [1, 5, 20, 100];

/** How many users have few and many events; null if the schema doesn't know. */
export function tiers(context: PanelContext): Panel | null {
  const given = { thresholds: THRESHOLDS, ...context.given() };
  if (!context.has("aiUsageTiers", given)) return null;
  const { formats } = context;
  return {
    id: "tiers",
    title: "Tiers of use",
    about: "Users by how many events they have.",
    selections: [context.scope.field("tiers", "aiUsageTiers", given, "minimum maximum usersCount")],
    read: (data) => {
      const rows = rowsOf<{ minimum: Integer; maximum: Integer | null; usersCount: Integer }>(data, "tiers");
      const label = (minimum: Integer, maximum: Integer | null) =>
        maximum === null
          ? `${formats.integer(minimum)} or more`
          : `${formats.integer(minimum)} to ${formats.integer(maximum)}`;
      return {
        chart: {
          type: "bars",
          bars: rows.map(({ minimum, maximum, usersCount }) => ({
            label: label(minimum, maximum),
            value: usersCount,
            shown: formats.integer(usersCount),
          })),
        },
        table: {
          columns: [
            { title: "Events from", kind: "integer" },
            { title: "to", kind: "integer" },
            { title: "Users", kind: "integer" },
          ],
          rows: rows.map(({ minimum, maximum, usersCount }) => [minimum, maximum, usersCount]),
        },
      };
    },
  };
}

function periodUnit(context: PanelContext): "DAY" | "WEEK" | "MONTH" {
  return context.step === "DAY" && addDays(context.period.start, 13) < context.period.end ? "WEEK" : context.step;
}
