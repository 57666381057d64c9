/** A page: its panels, and what they ask for. */

import { useEffect, useMemo, useState } from "preact/hooks";
import type { State } from "../model/address";
import type { Formats } from "../model/format";
import { keyOf } from "../model/requests";
import type { PanelContext } from "../panels/context";
import { eventPage } from "../panels/events";
import { questionOf } from "../panels/pages";
import { EventList } from "./event-list";
import { Filters } from "./filters";
import { GroupPicker } from "./group-picker";
import { Panel } from "./panel";
import { Progress } from "./progress";
import { type Answers, type Ask, stateOf, useAnswers } from "./use-answers";

interface PageProps {
  context: PanelContext;
  ask: Ask;
  formats: Formats;
  search: string;
  change: (changes: Partial<State>) => void;
}

export function Page({ context, ask, formats, search, change }: PageProps) {
  const question = useMemo(() => questionOf(context), [context]);
  const [again, setAgain] = useState(0);
  const answers = useAnswers(ask, question, `${again} ${keyOf(question)}`);
  const { data, problem, busy } = answers;
  const panels = question.panels.map((panel) => ({ panel, ...stateOf(panel, answers) }));
  const done = panels.filter(({ isReady }) => isReady);
  useScrollToPanel(done.map(({ panel }) => panel.id));
  const { view } = context.state;
  if (view.page === "feature" && !context.feature) {
    return (
      <p class="problem" role="alert">
        No definition names a feature “{view.feature}”.
      </p>
    );
  }
  return (
    <>
      {view.page === "user" && <p class="lead">{usernameOf(data)}</p>}
      {view.page !== "overview" && (
        <Filters state={context.state} feature={context.feature} facts={context.facts} change={change} />
      )}
      {problem ? (
        <div class="problem" role="alert">
          <p>{problem}</p>
          <button type="button" onClick={() => setAgain(again + 1)}>
            Try again
          </button>
        </div>
      ) : (
        <>
          <Progress busy={busy} done={done.length} of={panels.length} />
          <div class="panels">
            {panels.map(({ panel, isReady, problem: ofPanel }) => (
              <Panel
                key={panel.id}
                panel={panel}
                scope={context.scope}
                data={isReady ? data : null}
                problem={ofPanel}
                fresh={freshnessOf(answers, formats)}
                formats={formats}
                search={search}
                again={() => setAgain(again + 1)}
              >
                {GROUPED.has(panel.id) && <GroupPicker context={context} change={change} />}
                {panel.id === "newest" && data.newestEvents ? (
                  <EventList context={context} first={eventPage(data)} ask={ask} formats={formats} />
                ) : null}
              </Panel>
            ))}
          </div>
        </>
      )}
    </>
  );
}

const GROUPED: ReadonlySet<string> = new Set(["breakdown", "sessions-by"]);

function usernameOf(data: Record<string, unknown>): string {
  const newest = data.newestEvents ? eventPage(data).nodes[0] : undefined;
  return newest?.user.username ?? "";
}

/** The newest event, and when and from where the page was read. */
function freshnessOf({ data, at, source }: Answers, formats: Formats): string {
  const newest = data.newestEvents ? eventPage(data).nodes[0]?.timestamp : undefined;
  const parts = [
    data.newestEvents && at ? (newest ? `Newest event ${formats.ago(new Date(newest), at)}` : "No event") : "",
    at ? `read at ${formats.time(at)}` : "",
    source ? `from ${SOURCES[source] ?? source}` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

const SOURCES: Record<string, string> = { postgresql: "PostgreSQL", clickhouse: "ClickHouse" };

/** Shows the panel that the address names, once it is drawn. */
function useScrollToPanel(drawn: readonly string[]): void {
  const id = decoded(location.hash.slice(1));
  const isReady = drawn.includes(id);
  useEffect(() => {
    if (!isReady) return;
    const panel = document.getElementById(id);
    panel?.scrollIntoView();
    panel?.focus({ preventScroll: true });
  }, [isReady, id]);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
