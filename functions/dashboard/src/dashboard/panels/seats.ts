/** Seats: how many are assigned, whose lie idle, and how soon their users begin. */

import type { Integer } from "../model/format";
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

interface IdleSeats {
  count: Integer;
  nodes: {
    user: { id: string; username: string | null; lastDuoActivityOn: string | null };
    assignedOn: string;
  }[];
}

const NAMED = 100;

/** Who has a seat and did not use the feature, or anything at all; null if the schema doesn't know. */
export function idleSeats(context: PanelContext): Panel | null {
  const { feature, formats, scope } = context;
  const given = context.given();
  if (context.ownOnly || !context.has("aiIdleSeats", given)) return null;
  const linkTo = (id: string) => context.link({ view: { page: "user", user: id }, filters: [] });
  const node = "user { id username lastDuoActivityOn } assignedOn";
  return {
    id: "idle-seats",
    title: "Idle seats",
    optional: true,
    isOpen: true,
    about: `Who has a seat at the end of the period and ${feature ? "did not use the feature" : "used nothing"} in it.`,
    selections: [scope.field("idleSeats", "aiIdleSeats", { ...given, first: NAMED }, `nodes { ${node} } count`)],
    read: (data) => {
      const { count, nodes } = data.idleSeats as IdleSeats;
      const about = Number(count) > nodes.length ? `The table has the first ${formats.integer(nodes.length)}.` : "";
      return {
        figures: [{ name: "idleSeatsCount", title: "Users with an idle seat", kind: "integer", value: count, about }],
        table: {
          columns: [
            { title: "User", kind: "text" },
            { title: "Id", kind: "text" },
            { title: "Seat since", kind: "day" },
            { title: "Last active on", kind: "day" },
          ],
          rows: nodes.map(({ user, assignedOn }) => [
            user.username ?? user.id,
            user.id,
            assignedOn,
            user.lastDuoActivityOn,
          ]),
          links: nodes.map(({ user }) => linkTo(user.id)),
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
