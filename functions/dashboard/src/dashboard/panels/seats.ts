/** Seats: how many are assigned, and how soon their users begin. */

import type { Panel } from "../model/picture";
import type { PanelContext } from "./context";
import { figuresPicture } from "./figures";
import { point, rowsOf, type Values } from "./rows";

/** The assigned seats of each day; null if the schema doesn't know. */
export function seats(context: PanelContext): Panel | null {
  const given = { startDate: context.period.start, endDate: context.period.end };
  if (!context.has("aiSeats", given)) return null;
  const series = ["Assigned seats"];
  return {
    id: "seats",
    title: "Seats",
    optional: true,
    about: "Seats that are assigned at the end of the day.",
    selections: [context.scope.field("assignedSeats", "aiSeats", given, "date assignedCount")],
    read: (data) => {
      const rows = rowsOf<Values>(data, "assignedSeats");
      const isUsed = rows.some(({ assignedCount }) => Number(assignedCount) > 0);
      const points = rows.map((row) => point(context, row, "date", "assignedCount", "Assigned seats"));
      return {
        chart: { type: "lines", step: "DAY", kind: "integer", series, points },
        table: {
          columns: [
            { title: "Day", kind: "day" },
            { title: "Assigned seats", kind: "integer" },
          ],
          rows: isUsed ? rows.map((row) => [row.date, row.assignedCount]) : [],
        },
      };
    },
  };
}

const FIRST_USE = [
  ["usersCount", "Users who began", "integer"],
  ["medianSeconds", "Median", "seconds"],
  ["p90Seconds", "90th percentile", "seconds"],
] as const;

/** How long it takes from a seat to its first use; null if the schema doesn't know. */
export function timeToFirstUse(context: PanelContext): Panel | null {
  const { compared, scope } = context;
  const given = context.given();
  if (!context.has("aiTimeToFirstUse", given, "usersCount")) return null;
  const selection = FIRST_USE.map(([name]) => name).join(" ");
  return {
    id: "first-use",
    title: "Time to first use",
    optional: true,
    about: "From a user's first seat to the first use after it, both in the period.",
    selections: [
      scope.field("firstUse", "aiTimeToFirstUse", given, selection),
      ...(compared ? [scope.field("firstUseBefore", "aiTimeToFirstUse", context.given(compared), selection)] : []),
    ],
    read: (data) => {
      const now = data.firstUse as Values | null;
      const before = data.firstUseBefore as Values | null | undefined;
      const isNone = [now, before].every((each) => !Number(each?.usersCount ?? 0));
      return figuresPicture(
        context,
        (isNone ? [] : FIRST_USE).map(([name, title, kind]) => ({
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
