/** The state of a page, which its address keeps: a link shows another reader the same. */

import { type Filter, parseFilter, printFilter } from "./payload-filter";
import { type Comparison, isPeriod, lastDays, type Period } from "./period";

export type View = { page: "overview" } | { page: "feature"; feature: string } | { page: "user"; user: string };

export const GROUPS = ["payload", "event", "user", "namespace", "project", "time"] as const;
export type Group = (typeof GROUPS)[number];

export interface State {
  view: View;
  /** A full path; null for all that the token may read. */
  namespace: string | null;
  /** A number of days until today, or a period. */
  period: number | Period;
  comparison: Comparison;
  filters: Filter[];
  /** What to break down by; null for what suits the feature. */
  group: Group | null;
  /** The payload key to break down by. */
  breakdown: string | null;
  /** The metric whose course is drawn. */
  metric: string | null;
}

export const PRESETS = [7, 28, 90, 365] as const;
const DEFAULT_DAYS = 28;
const COMPARISONS: readonly Comparison[] = ["previous", "year", "none"];

export const INITIAL: State = {
  view: { page: "overview" },
  namespace: null,
  period: DEFAULT_DAYS,
  comparison: "previous",
  filters: [],
  group: null,
  breakdown: null,
  metric: null,
};

export function periodOf(state: State, today: string): Period {
  return typeof state.period === "number" ? lastDays(state.period, today) : state.period;
}

/** The query part of the address; what is as usual is left out. */
export function toSearch(state: State): string {
  const search = new URLSearchParams();
  if (state.view.page === "feature") search.set("feature", state.view.feature);
  if (state.view.page === "user") search.set("user", state.view.user);
  if (state.namespace !== null) search.set("namespace", state.namespace);
  if (typeof state.period === "object") {
    search.set("start", state.period.start);
    search.set("end", state.period.end);
  } else if (state.period !== DEFAULT_DAYS) search.set("days", String(state.period));
  if (state.comparison !== "previous") search.set("compare", state.comparison);
  if (state.view.page === "feature") {
    if (state.group) search.set("group", state.group);
    if (state.breakdown) search.set("by", state.breakdown);
    if (state.metric) search.set("metric", state.metric);
  }
  if (state.view.page !== "overview") for (const filter of state.filters) search.append("where", printFilter(filter));
  const text = search.toString().replaceAll("%2F", "/");
  return text ? `?${text}` : "";
}

/** The state in an address; what it says wrongly is as usual. */
export function fromSearch(text: string): State {
  const search = new URLSearchParams(text);
  const feature = search.get("feature");
  const user = search.get("user");
  const days = Number(search.get("days"));
  const [start, end] = [search.get("start") ?? "", search.get("end") ?? ""];
  return {
    view: feature ? { page: "feature", feature } : user ? { page: "user", user } : { page: "overview" },
    namespace: search.get("namespace") || null,
    period: isPeriod(start, end)
      ? { start, end }
      : Number.isInteger(days) && days >= 1 && days <= 3660
        ? days
        : DEFAULT_DAYS,
    comparison: COMPARISONS.find((each) => each === search.get("compare")) ?? "previous",
    filters: search
      .getAll("where")
      .map(parseFilter)
      .filter((filter) => filter !== null),
    group: GROUPS.find((each) => each === search.get("group")) ?? null,
    breakdown: search.get("by") || null,
    metric: search.get("metric") || null,
  };
}
