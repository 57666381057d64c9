/** What is used: events by feature, adoption, the greatest users and namespaces, a payload's values. */

import { type Integer, words } from "../model/format";
import type { Bar, Panel } from "../model/picture";
import { enumValue } from "../model/selection";
import type { PanelContext } from "./context";
import { type GroupRow, groupingOf, groupOf, ofNamespaces } from "./groups";
import { greatestFirst, pivot, pointsOverTime, type Row, rowsOf } from "./rows";

const COUNTS = [
  { title: "Events", kind: "integer" as const },
  { title: "Users", kind: "integer" as const },
];

/** Events by step, each feature or event type a colour. */
export function eventsOverTime(context: PanelContext, by: "FEATURE" | "EVENT"): Panel {
  const field = by === "FEATURE" ? "feature" : "event";
  const nameOf = (row: Row) => words(row[field] ?? "");
  return {
    id: "events",
    title: by === "FEATURE" ? "Events by feature" : "Events by type",
    wide: true,
    selections: [
      context.scope.field(
        "events",
        "aiUsage",
        { groupBy: [enumValue(context.step), enumValue(by)], ...context.given(), first: 1000 },
        `${context.step.toLowerCase()} ${field} totalCount`,
      ),
    ],
    read: (data) => {
      const rows = rowsOf(data, "events");
      const series = greatestFirst(rows, nameOf);
      const points = pointsOverTime(context, rows, nameOf, (row) => row.totalCount ?? 0, series);
      return {
        chart: { type: "stacked", step: context.step, kind: "integer", series, points },
        table: {
          columns: [
            { title: words(context.step), kind: "day" },
            ...series.map((title) => ({ title, kind: "integer" as const })),
          ],
          rows: pivot(points, series),
        },
      };
    },
  };
}

/** How many people used each feature, and which share of the seats where the schema knows those. */
export function adoption(context: PanelContext): Panel {
  const given = context.given();
  const knowsSeats = context.has("aiAdoption", given);
  const link = (feature: unknown) =>
    context.link({ view: { page: "feature", feature: String(feature).toLowerCase() } });
  const { scope, formats } = context;
  return {
    id: "adoption",
    title: "Adoption",
    about: knowsSeats ? "Users of each feature, and their share of the assigned seats." : "Users of each feature.",
    selections: [
      scope.field(
        "adoption",
        "aiUsage",
        { groupBy: [enumValue("FEATURE")], ...given, orderBy: [enumValue("USERS_COUNT_DESC")], first: 1000 },
        "feature totalCount usersCount returningUsersCount",
      ),
      ...(knowsSeats ? [scope.field("seats", "aiAdoption", given, "feature seatsCount usersCount rate")] : []),
    ],
    read: (data) => {
      const rows = rowsOf(data, "adoption");
      const seats = new Map(
        rowsOf<{ feature: string; seatsCount: number; rate: number | null }>(data, "seats").map((row) => [
          row.feature,
          row,
        ]),
      );
      const share = (row: Row) => seats.get(row.feature ?? "")?.rate ?? null;
      return {
        chart: {
          type: "bars",
          bars: rows.map((row) => ({
            label: words(row.feature ?? ""),
            value: row.usersCount ?? 0,
            shown: [
              formats.value(row.usersCount, "integer"),
              ...(share(row) === null ? [] : [formats.value(share(row), "rate")]),
            ].join(" · "),
            href: link(row.feature),
          })),
        },
        table: {
          columns: [
            { title: "Feature", kind: "text" },
            ...COUNTS,
            { title: "Users who returned", kind: "integer" },
            ...(knowsSeats
              ? [
                  { title: "Seats", kind: "integer" as const },
                  { title: "Share of seats", kind: "rate" as const },
                ]
              : []),
          ],
          rows: rows.map((row) => [
            (row.feature ?? "").toLowerCase(),
            row.totalCount,
            row.usersCount,
            row.returningUsersCount,
            ...(knowsSeats ? [seats.get(row.feature ?? "")?.seatsCount ?? null, share(row)] : []),
          ]),
          links: rows.map(({ feature }) => link(feature)),
        },
      };
    },
  };
}

/** The events by feature. */
export function eventsByFeature(context: PanelContext): Panel {
  const { scope, formats } = context;
  const link = (feature: unknown) =>
    context.link({ view: { page: "feature", feature: String(feature).toLowerCase() }, filters: [] });
  return {
    id: "by-feature",
    title: "By feature",
    selections: [
      scope.field(
        "byFeature",
        "aiUsage",
        { groupBy: [enumValue("FEATURE")], ...context.given(), first: 1000 },
        "feature totalCount",
      ),
    ],
    read: (data) => {
      const rows = rowsOf(data, "byFeature");
      return {
        chart: {
          type: "bars",
          bars: rows.map(({ feature, totalCount }) => ({
            label: words(feature ?? ""),
            value: totalCount ?? 0,
            shown: formats.value(totalCount, "integer"),
            href: link(feature),
          })),
        },
        table: {
          columns: [
            { title: "Feature", kind: "text" },
            { title: "Events", kind: "integer" },
          ],
          rows: rows.map(({ feature, totalCount }) => [(feature ?? "").toLowerCase(), totalCount]),
          links: rows.map(({ feature }) => link(feature)),
        },
      };
    },
  };
}

interface UserRow {
  user: { id: string; username: string | null };
  totalEventCount: number | bigint;
  lastDuoActivityOn: string | null;
}

/** The users of the most events. */
export function topUsers(context: PanelContext): Panel {
  const { scope, formats } = context;
  const linkTo = (id: string) => context.link({ view: { page: "user", user: id }, filters: [] });
  return {
    id: "users",
    title: "Top users",
    selections: [
      scope.field(
        "users",
        "aiUserMetrics",
        { ...context.given(), first: 10 },
        "nodes { user { id username } totalEventCount lastDuoActivityOn }",
      ),
    ],
    read: (data) => {
      const { nodes } = data.users as { nodes: UserRow[] };
      return {
        chart: {
          type: "bars",
          bars: nodes.map(({ user, totalEventCount }) => ({
            label: user.username ?? user.id,
            value: totalEventCount,
            shown: formats.integer(totalEventCount),
            href: linkTo(user.id),
          })),
        },
        table: {
          columns: [
            { title: "User", kind: "text" },
            { title: "Id", kind: "text" },
            { title: "Events", kind: "integer" },
            { title: "Last active on", kind: "day" },
          ],
          rows: nodes.map(({ user, totalEventCount, lastDuoActivityOn }) => [
            user.username ?? user.id,
            user.id,
            totalEventCount,
            lastDuoActivityOn,
          ]),
          links: nodes.map(({ user }) => linkTo(user.id)),
        },
      };
    },
  };
}

/** The namespaces of the most events, with their full paths. */
export function topNamespaces(context: PanelContext): Panel {
  const { labelOf, hrefOf, follow } = ofNamespaces(context);
  return {
    id: "namespaces",
    title: "Top namespaces",
    about: "By the events in a namespace itself, without those below it.",
    selections: [
      context.scope.field(
        "namespaces",
        "aiUsage",
        { groupBy: [enumValue("NAMESPACE")], ...context.given(), first: 10 },
        "namespacePath totalCount usersCount",
      ),
    ],
    follow: (data) => follow(rowsOf(data, "namespaces")),
    read: (data) => {
      const rows = rowsOf<GroupRow>(data, "namespaces");
      return {
        chart: { type: "bars", bars: rows.map((row) => bar(context, labelOf(row, data), row.totalCount, hrefOf(row))) },
        table: {
          columns: [{ title: "Namespace", kind: "text" }, { title: "Path", kind: "text" }, ...COUNTS],
          rows: rows.map((row) => [labelOf(row, data), row.namespacePath ?? null, row.totalCount, row.usersCount]),
          links: rows.map(hrefOf),
        },
      };
    },
  };
}

/** The events in the groups that the page is broken down by; null over time, and without a payload key. */
export function breakdown(context: PanelContext): Panel | null {
  const grouping = groupingOf(context);
  if (!grouping || groupOf(context) === "time") return null;
  return {
    id: "breakdown",
    title: `By ${grouping.title}`,
    selections: [
      context.scope.field(
        "breakdown",
        "aiUsage",
        { ...grouping.given, ...context.given(), first: 15 },
        `${grouping.selection} totalCount usersCount`,
      ),
    ],
    follow: (data) => grouping.follow(rowsOf(data, "breakdown")),
    read: (data) => {
      const rows = rowsOf<GroupRow>(data, "breakdown");
      const { labelOf, hrefOf, keyOf, kind } = grouping;
      return {
        chart: { type: "bars", bars: rows.map((row) => bar(context, labelOf(row, data), row.totalCount, hrefOf(row))) },
        table: {
          columns: [{ title: words(grouping.title), kind }, ...COUNTS],
          rows: rows.map((row) => [kind === "text" ? labelOf(row, data) : keyOf(row), row.totalCount, row.usersCount]),
          links: rows.map(hrefOf),
        },
      };
    },
  };
}

function bar({ formats }: PanelContext, label: string, count: unknown, href: string | undefined): Bar {
  return { label, value: (count ?? 0) as Integer, shown: formats.value(count, "integer"), href };
}
