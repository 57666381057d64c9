/** The newest events, with what they carry. */

import type { Panel } from "../model/picture";
import { args } from "../model/selection";
import type { PanelContext } from "./context";

export interface EventNode {
  id: string;
  timestamp: string;
  event: string;
  user: { id: string; username: string | null };
  namespacePath: string | null;
  projectId: number | bigint | null;
  payload: Record<string, unknown>;
}

export interface EventPage {
  nodes: EventNode[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

const PAGE = 25;

export function eventsSelection(context: PanelContext, after?: string): string {
  const given = args({ ...context.given(), first: PAGE, after });
  const node = "id timestamp event user { id username } namespacePath projectId payload";
  return `newestEvents: ${context.scope.nameOf("aiUsageData")} { all${given} { nodes { ${node} } pageInfo { hasNextPage endCursor } } }`;
}

export function newestEvents(context: PanelContext): Panel {
  return {
    id: "newest",
    title: "Newest events",
    about: "A value of a payload is a link to the events that carry it too.",
    wide: true,
    tabular: true,
    selections: [eventsSelection(context)],
    read: (data) => ({ table: eventTable(eventPage(data).nodes) }),
  };
}

export function eventPage(data: Record<string, unknown>): EventPage {
  return (data.newestEvents as { all: EventPage }).all;
}

export function eventTable(nodes: readonly EventNode[]) {
  return {
    columns: [
      { title: "Time", kind: "moment" as const },
      { title: "Event", kind: "text" as const },
      { title: "User", kind: "text" as const },
      { title: "User id", kind: "text" as const },
      { title: "Namespace", kind: "text" as const },
      { title: "Project", kind: "text" as const },
      { title: "Payload", kind: "json" as const },
      { title: "Id", kind: "text" as const },
    ],
    rows: nodes.map((node) => [
      node.timestamp,
      node.event.toLowerCase(),
      node.user.username,
      node.user.id,
      node.namespacePath,
      node.projectId,
      node.payload,
      node.id,
    ]),
  };
}
