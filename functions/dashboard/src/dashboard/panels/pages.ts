/** Which panels each page has. */

import type { View } from "../model/address";
import type { Panel } from "../model/picture";
import type { Question } from "../model/requests";
import { args } from "../model/selection";
import type { PanelContext } from "./context";
import { newestEvents } from "./events";
import { metricCourse, metrics } from "./feature";
import { totals } from "./figures";
import { activeUsers, newAndReturning, retention, tiers } from "./people";
import { idleSeats, seats, timeToFirstUse } from "./seats";
import { sessions, sessionsByFeature, sessionsByGroup } from "./sessions";
import { adoption, breakdown, eventsByFeature, eventsOverTime, topNamespaces, topUsers } from "./usage";

/** Everything that a page asks for. */
export function questionOf(context: PanelContext): Question {
  return { scope: context.scope, panels: panelsOf(context), freshness: freshness(context) };
}

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
    sessionsByFeature(context),
    seats(context),
    idleSeats(context),
    timeToFirstUse(context),
    retention(context),
  ],
  feature: (context) => [
    metrics(context) ?? totals(context),
    metricCourse(context),
    eventsOverTime(context, "EVENT"),
    sessions(context),
    sessionsByGroup(context),
    breakdown(context),
    context.ownOnly ? null : topUsers(context),
    idleSeats(context),
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

/** The field that says how fresh a page is, its newest event; null if a panel asks for the newest events. */
function freshness(context: PanelContext): string | null {
  if (context.state.view.page !== "overview") return null;
  const given = args({ ...context.given(), first: 1 });
  return `newestEvents: ${context.scope.nameOf("aiUsageData")} { all${given} { nodes { timestamp } } }`;
}
