/** What the events and sessions of a feature are broken down by: a payload's key, or what each event has. */

import { stringifyExact } from "../../shared/exact-json";
import type { Group } from "../model/address";
import { isNumber, type Kind, words } from "../model/format";
import { STEP_FIELDS } from "../model/period";
import { enumValue, literal } from "../model/selection";
import type { PanelContext } from "./context";

/** A row of `aiUsage` or `aiSessions`: what it is grouped by, and its numbers. */
export type GroupRow = Record<string, unknown>;

export interface Grouping {
  /** As in a title: `language`, or `namespace`. */
  title: string;
  kind: Kind;
  /** The arguments that group. */
  given: Record<string, unknown>;
  /** The fields of a row that name its group. */
  selection: string;
  keyOf: (row: GroupRow) => unknown;
  labelOf: (row: GroupRow, data: Record<string, unknown>) => string;
  hrefOf: (row: GroupRow) => string | undefined;
  /** Fields of `Query` with the groups' names. */
  follow: (rows: readonly GroupRow[]) => string[];
}

export const GROUP_TITLES: Record<Group, string> = {
  payload: "payload key",
  event: "event type",
  user: "user",
  namespace: "namespace",
  project: "project",
  time: "time",
};

const DIMENSIONS: Record<Exclude<Group, "payload" | "time">, { field: string; selection: string }> = {
  event: { field: "event", selection: "event" },
  user: { field: "user", selection: "user { id username }" },
  namespace: { field: "namespacePath", selection: "namespacePath" },
  project: { field: "projectId", selection: "projectId" },
};

/** The groups that the schema can make, the one by a payload's key first. */
export function groupsOf(context: PanelContext): Group[] {
  const named = (Object.keys(DIMENSIONS) as (keyof typeof DIMENSIONS)[]).filter((name) =>
    context.has("aiUsage", { groupBy: [] }, DIMENSIONS[name].field),
  );
  return ["payload", ...named, ...(context.has("aiSessions") ? (["time"] as const) : [])];
}

/** The group that the page is broken down by: at first that of a payload's key, if the feature has one. */
export function groupOf(context: PanelContext): Group {
  const { state } = context;
  if (state.group) return state.group;
  return state.breakdown || breakdownKey(context) ? "payload" : "namespace";
}

/** The payload key that the page is broken down by: at first one of texts that are no ids; null if there is no key. */
export function breakdownKey({ state, feature }: PanelContext): string | null {
  const keys = feature?.keys ?? [];
  const first = keys.find(({ name, type }) => type === "str" && !/(^|_)id$/.test(name)) ?? keys[0];
  return state.breakdown ?? first?.name ?? null;
}

/** How the page is broken down; null if no key is chosen. */
export function groupingOf(context: PanelContext): Grouping | null {
  const group = groupOf(context);
  if (group === "payload") {
    const path = breakdownKey(context);
    return path === null ? null : byPayload(context, path);
  }
  if (group === "time") return byTime(context);
  const { field, selection } = DIMENSIONS[group];
  const grouping: Grouping = {
    title: GROUP_TITLES[group],
    kind: "text",
    given: { groupBy: [enumValue(group.toUpperCase())] },
    selection,
    keyOf: (row) => row[field] ?? null,
    labelOf: (row) => (group === "event" ? words(String(row.event ?? "")) : labelOf(row[field])),
    hrefOf: () => undefined,
    follow: () => [],
  };
  if (group === "user") return { ...grouping, ...ofUsers(context) };
  return group === "namespace" ? { ...grouping, ...ofNamespaces(context) } : grouping;
}

function byPayload(context: PanelContext, path: string): Grouping {
  const keyOf = (row: GroupRow) => (row.payload as Record<string, unknown> | undefined)?.[path] ?? null;
  return {
    title: path,
    kind: "json",
    given: { payloadGroupBy: [path] },
    selection: "payload",
    keyOf,
    labelOf: (row) => labelOf(keyOf(row)),
    hrefOf: (row) => {
      const value = keyOf(row);
      const filter =
        value === null ? { path, operator: "exists" as const, value: false } : { path, operator: "eq" as const, value };
      return context.link({ filters: [...context.state.filters, filter] });
    },
    follow: () => [],
  };
}

/** Rows by feature, which lead to the features' pages. */
export function byFeature(context: PanelContext): Grouping {
  return {
    title: "feature",
    kind: "text",
    given: { groupBy: [enumValue("FEATURE")] },
    selection: "feature",
    keyOf: (row) => row.feature,
    labelOf: (row) => words(String(row.feature ?? "")),
    hrefOf: (row) =>
      row.feature
        ? context.link({ view: { page: "feature", feature: String(row.feature).toLowerCase() }, filters: [] })
        : undefined,
    follow: () => [],
  };
}

function byTime(context: PanelContext): Grouping {
  const field = STEP_FIELDS[context.step];
  return {
    title: field,
    kind: "day",
    given: { groupBy: [enumValue(context.step)] },
    selection: field,
    keyOf: (row) => row[field],
    labelOf: (row) => context.formats.day(String(row[field])),
    hrefOf: () => undefined,
    follow: () => [],
  };
}

function ofUsers(context: PanelContext): Partial<Grouping> {
  const userOf = (row: GroupRow) => row.user as { id: string; username: string | null } | null;
  return {
    keyOf: (row) => userOf(row)?.username ?? userOf(row)?.id ?? null,
    labelOf: (row) => userOf(row)?.username ?? userOf(row)?.id ?? "None",
    hrefOf: (row) => {
      const user = userOf(row);
      return user ? context.link({ view: { page: "user", user: user.id }, filters: [] }) : undefined;
    },
  };
}

/** Namespaces by their full paths, which a second query finds. */
export function ofNamespaces(context: PanelContext) {
  return {
    labelOf: (row: GroupRow, data: Record<string, unknown>) => namespaceName(row.namespacePath, data),
    hrefOf: (row: GroupRow) => (row.namespacePath ? context.link({ namespace: String(row.namespacePath) }) : undefined),
    follow: (rows: readonly GroupRow[]) => {
      const paths = [...new Set(rows.flatMap(({ namespacePath }) => (namespacePath ? [String(namespacePath)] : [])))];
      return paths.map((path) => `${aliasOf(path)}: namespace(fullPath: ${literal(path)}) { fullPath }`);
    },
  };
}

const aliasOf = (path: string) => `namespace_${path.replaceAll("/", "_")}`;

function namespaceName(path: unknown, data: Record<string, unknown>): string {
  if (!path) return "Without a namespace";
  const found = data[aliasOf(String(path))] as { fullPath: string } | null | undefined;
  return found?.fullPath ?? String(path);
}

export function labelOf(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === "") return "(empty)";
  return typeof value === "string" || isNumber(value) ? String(value) : stringifyExact(value);
}
