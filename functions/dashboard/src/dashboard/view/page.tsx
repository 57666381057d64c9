/** A page: its panels, and what they ask for. */

import { useEffect, useMemo, useState } from "preact/hooks";
import type { State } from "../model/address";
import type { Formats } from "../model/format";
import type { PanelContext } from "../panels/context";
import { eventPage } from "../panels/events";
import { breakdownKey, freshness, panelsOf } from "../panels/pages";
import { EventList } from "./event-list";
import { Filters } from "./filters";
import { Panel } from "./panel";
import { type Answers, type Ask, useAnswers } from "./use-answers";

interface PageProps {
  context: PanelContext;
  ask: Ask;
  formats: Formats;
  search: string;
  change: (changes: Partial<State>) => void;
}

export function Page({ context, ask, formats, search, change }: PageProps) {
  const panels = useMemo(() => panelsOf(context), [context]);
  const [again, setAgain] = useState(0);
  const answers = useAnswers(ask, context.scope, panels, freshness(context), again);
  const { data, problem, problems } = answers;
  useScrollToPanel(data !== null);
  const { view } = context.state;
  if (view.page === "feature" && !context.feature) {
    return <p class="problem">No definition names a feature “{view.feature}”.</p>;
  }
  return (
    <>
      {view.page === "user" && <p class="lead">{usernameOf(data)}</p>}
      {view.page !== "overview" && (
        <Filters state={context.state} feature={context.feature} operators={context.facts.operators} change={change} />
      )}
      {problem && (
        <div class="problem" role="alert">
          <p>{problem}</p>
          <button type="button" onClick={() => setAgain(again + 1)}>
            Try again
          </button>
        </div>
      )}
      {!problem && (
        <div class="panels">
          {panels.map((panel) => (
            <Panel
              key={panel.id}
              panel={panel}
              scope={context.scope}
              data={data}
              problem={problems[panel.id] ?? null}
              fresh={freshnessOf(answers, formats)}
              formats={formats}
              search={search}
            >
              {panel.id === "breakdown" && <KeyPicker context={context} change={change} />}
              {panel.id === "newest" && data?.newestEvents ? (
                <EventList context={context} first={eventPage(data)} ask={ask} formats={formats} />
              ) : null}
            </Panel>
          ))}
        </div>
      )}
    </>
  );
}

function usernameOf(data: Record<string, unknown> | null): string {
  const newest = data?.newestEvents ? eventPage(data).nodes[0] : undefined;
  return newest?.user.username ?? "";
}

function KeyPicker({ context, change }: { context: PanelContext; change: PageProps["change"] }) {
  const current = breakdownKey(context) ?? "";
  const names = context.feature?.keys.map(({ name }) => name) ?? [];
  return (
    <label class="key">
      <span>Payload key</span>
      <input
        list="keys"
        defaultValue={current}
        key={current}
        spellcheck={false}
        autocomplete="off"
        onChange={(event) => change({ breakdown: event.currentTarget.value.trim() || null })}
      />
      <datalist id="keys">
        {names.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </label>
  );
}

/** The newest event, and when and from where the page was read. */
function freshnessOf({ data, at, source }: Answers, formats: Formats): string {
  const all = (data?.freshness as { all: { nodes: { timestamp: string }[] } } | undefined)?.all;
  const newest = all?.nodes[0]?.timestamp;
  const parts = [
    newest && at ? `Newest event ${formats.ago(new Date(newest), at)}` : "No event",
    at ? `read at ${at.toLocaleTimeString()}` : "",
    source ? `from ${SOURCES[source] ?? source}` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

const SOURCES: Record<string, string> = { postgresql: "PostgreSQL", clickhouse: "ClickHouse" };

function useScrollToPanel(ready: boolean): void {
  useEffect(() => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (!ready || !id) return;
    const panel = document.getElementById(id);
    panel?.scrollIntoView();
    panel?.focus({ preventScroll: true });
  }, [ready]);
}
