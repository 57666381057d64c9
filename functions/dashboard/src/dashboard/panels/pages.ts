/** Which panels each page has. */

import type { View } from "../model/address";
import type { Panel } from "../model/picture";
import { args } from "../model/selection";
import type { PanelContext } from "./context";
import { newestEvents } from "./events";
import { metricCourse, metrics, sessions } from "./feature";
import { totals } from "./figures";
import { activeUsers, newAndReturning, retention, seats, tiers } from "./people";
import { adoption, breakdown, eventsByFeature, eventsOverTime, topNamespaces, topUsers } from "./usage";

export function panelsOf(context: PanelContext): Panel[] {
  const panels = PAGES[context.state.view.page](context);
  return panels.filter((panel) => panel !== null);
}

const PAGES: Record<View["page"], (context: PanelContext) => (Panel | null)[]> = {
  overview: (context) => [
    totals(context),
    activeUsers(context),
    eventsOverTime(context, "FEATURE"),
    adoption(context),
    newAndReturning(context),
    topUsers(context),
    topNamespaces(context),
    tiers(context),
    seats(context),
    retention(context),
  ],
  feature: (context) => [
    metrics(context) ?? totals(context),
    metricCourse(context),
    eventsOverTime(context, "EVENT"),
    sessions(context),
    ...(breakdownKey(context) ? [breakdown(context, breakdownKey(context) as string)] : []),
    context.ownOnly ? null : topUsers(context),
    newestEvents(context),
  ],
  user: (context) => [
    totals(context, true),
    eventsOverTime(context, "FEATURE"),
    eventsByFeature(context),
    topNamespaces(context),
    newestEvents(context),
  ],
};

/** The payload key that the page is broken down by: at first one of texts that are no ids; null if there is no key. */
export function breakdownKey({ state, feature }: PanelContext): string | null {
  const keys = feature?.keys ?? [];
  const first = keys.find(({ name, type }) => type === "str" && !/(^|_)id$/.test(name)) ?? keys[0];
  return state.breakdown ?? first?.name ?? null;
}

/** The field that says how fresh a page is: its newest event. */
export function freshness(context: PanelContext): string {
  const given = args({ ...context.given(), first: 1 });
  return `freshness: ${context.scope.nameOf("aiUsageData")} { all${given} { nodes { timestamp } } }`;
}
