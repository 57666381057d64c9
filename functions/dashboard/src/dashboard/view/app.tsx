/** The dashboard: its frame, its address, its pages. */

import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { Claims } from "../../shared/claims";
import { fromSearch, type State, toSearch } from "../model/address";
import type { Facts } from "../model/facts";
import { Formats, words } from "../model/format";
import { dayOf } from "../model/period";
import { PanelContext } from "../panels/context";
import { Controls } from "./controls";
import { Navigate } from "./link";
import { Navigation } from "./navigation";
import { Page } from "./page";
import { Prose } from "./prose";
import type { Ask } from "./use-answers";

interface AppProps {
  facts: Facts;
  claims: Claims;
  ask: Ask;
  leave: () => void;
}

export function App({ facts, claims, ask, leave }: AppProps) {
  const [search, setSearch] = useState(location.search);
  const formats = useMemo(() => new Formats(), []);
  useEffect(() => {
    const moved = () => setSearch(location.search);
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  const navigate = useCallback((to: string) => {
    history.pushState(null, "", to === "?" ? location.pathname : to);
    setSearch(to === "?" ? "" : to);
  }, []);
  const state = useMemo(() => viewOf(fromSearch(search), claims), [search, claims]);
  const context = useMemo(
    () => new PanelContext(facts, state, dayOf(new Date()), formats, claims.ownOnly),
    [facts, state, formats, claims],
  );
  const change = (changes: Partial<State>) => navigate(toSearch({ ...state, ...changes }) || "?");
  const title = titleOf(state, claims);
  useEffect(() => {
    document.title = `${title} – AI usage`;
  }, [title]);
  return (
    <Navigate.Provider value={navigate}>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="top">
        <p class="brand">AI usage</p>
        <p class="others">
          <a href="graphql">GraphiQL</a>
          <button type="button" onClick={leave}>
            Forget token
          </button>
        </p>
      </header>
      <Navigation context={context} claims={claims} title={title} />
      <main id="content" tabIndex={-1}>
        <h1>{title}</h1>
        {context.feature && (
          <p class="lead">
            <Prose
              text={[context.feature.description, `Owned by ${context.feature.owner}.`].filter(Boolean).join(" ")}
            />
          </p>
        )}
        <Controls
          state={state}
          period={context.period}
          formats={formats}
          canSearch={facts.canSearchNamespaces}
          showNamespace={!claims.ownOnly}
          ask={ask}
          change={change}
        />
        <Page context={context} ask={ask} formats={formats} search={search || "?"} change={change} />
      </main>
    </Navigate.Provider>
  );
}

/** A token that reads just its own user's events sees its own page in place of the overview. */
function viewOf(state: State, claims: Claims): State {
  if (!claims.ownOnly || state.view.page === "feature") return state;
  return { ...state, view: { page: "user", user: claims.subject ?? "" }, namespace: null };
}

function titleOf(state: State, claims: Claims): string {
  const { view } = state;
  if (view.page === "feature") return words(view.feature);
  if (view.page === "user") return view.user === claims.subject ? "My usage" : `Usage of user ${view.user}`;
  return "Overview";
}
