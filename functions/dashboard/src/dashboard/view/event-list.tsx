/** The newest events, page after page; values of payloads lead to the events that carry them too. */

import { useEffect, useState } from "preact/hooks";
import { type Formats, shortened, words } from "../model/format";
import type { PanelContext } from "../panels/context";
import { type EventNode, type EventPage, eventPage, eventsSelection } from "../panels/events";
import { labelOf } from "../panels/groups";
import { Link } from "./link";
import { LongText } from "./long-text";
import type { Ask } from "./use-answers";

interface EventListProps {
  context: PanelContext;
  first: EventPage;
  ask: Ask;
  formats: Formats;
}

export function EventList({ context, first, ask, formats }: EventListProps) {
  const [pages, setPages] = useState([first]);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => setPages([first]), [first]);
  const last = pages.at(-1)?.pageInfo;
  const more = async () => {
    setBusy(true);
    setProblem("");
    try {
      const answer = await ask(context.scope.request([eventsSelection(context, last?.endCursor ?? undefined)]));
      const data = answer.data ? context.scope.read(answer.data) : null;
      if (data) setPages([...pages, eventPage(data)]);
      else setProblem(answer.errors?.[0]?.message ?? "The events can't be read.");
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
  };
  return (
    <>
      <ol class="events">
        {pages.flatMap(({ nodes }) =>
          nodes.map((node) => <Event key={node.id} node={node} context={context} formats={formats} />),
        )}
      </ol>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {last?.hasNextPage && (
        <button type="button" disabled={busy} onClick={more}>
          {busy ? "Loading…" : "Older events"}
        </button>
      )}
    </>
  );
}

function Event({ node, context, formats }: { node: EventNode; context: PanelContext; formats: Formats }) {
  const { user } = node;
  const place = [node.namespacePath, node.projectId === null ? null : `project ${node.projectId}`].filter(Boolean);
  return (
    <li>
      <p class="event-head">
        <strong>{words(node.event)}</strong>
        <Link href={context.link({ view: { page: "user", user: user.id }, filters: [] })}>
          {user.username ?? `user ${user.id}`}
        </Link>
        <time dateTime={node.timestamp}>{formats.value(node.timestamp, "moment")}</time>
        {place.length > 0 && <span class="place">{place.join(" · ")}</span>}
      </p>
      <dl class="payload">
        {Object.entries(node.payload).map(([path, value]) => (
          <div key={path}>
            <dt>{path}</dt>
            <dd>
              {isLinked(value) ? (
                <Link href={context.link({ filters: [...context.state.filters, { path, operator: "eq", value }] })}>
                  {labelOf(value)}
                </Link>
              ) : (
                <LongText text={labelOf(value)} />
              )}
            </dd>
          </div>
        ))}
      </dl>
    </li>
  );
}

/** Whether a value leads to the events that have it too: a long one would make a long address. */
function isLinked(value: unknown): boolean {
  return typeof value !== "object" && shortened(labelOf(value)) === labelOf(value);
}
