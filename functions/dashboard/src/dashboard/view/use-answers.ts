/** Asks for all panels of a page at once, and for each alone where that fails. */

import { useEffect, useState } from "preact/hooks";
import { Failure, type GraphQLAnswer } from "../../shared/api";
import type { Panel } from "../model/picture";
import type { Scope } from "../model/selection";

export type Ask = (query: string, signal?: AbortSignal) => Promise<GraphQLAnswer>;

export interface Answers {
  /** The fields by alias; null while there are none. */
  data: Record<string, unknown> | null;
  /** By panel. */
  problems: Record<string, string>;
  /** Of the whole page. */
  problem: string | null;
  source: string | null;
  at: Date | null;
  busy: boolean;
}

const NOTHING: Answers = { data: null, problems: {}, problem: null, source: null, at: null, busy: true };
const UNREADABLE = "There is no such namespace, or the token may not read it.";

export function useAnswers(ask: Ask, scope: Scope, panels: Panel[], freshness: string, again: number): Answers {
  const query = scope.query(
    [...new Set([...panels.flatMap(({ selections }) => selections), freshness])],
    panels.flatMap(({ fragments }) => fragments ?? []),
  );
  const [state, setState] = useState<{ query: string; answers: Answers }>({ query: "", answers: NOTHING });
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, answers: { ...before.answers, busy: true } }));
    answersOf(ask, scope, panels, query, controller.signal).then(
      (answers) => {
        setState({ query, answers });
        void followed(ask, panels, answers, controller.signal).then((more) => {
          if (more && !controller.signal.aborted)
            setState({ query, answers: { ...answers, data: { ...answers.data, ...more } } });
        });
      },
      (error) => {
        if (!controller.signal.aborted)
          setState({ query, answers: { ...NOTHING, busy: false, problem: messageOf(error) } });
      },
    );
    return () => controller.abort();
  }, [ask, query, again]);
  return state.query === query ? state.answers : NOTHING;
}

async function answersOf(
  ask: Ask,
  scope: Scope,
  panels: Panel[],
  query: string,
  signal: AbortSignal,
): Promise<Answers> {
  const answer = await ask(query, signal);
  const data = answer.data ? scope.read(answer.data) : null;
  const done = { source: answer.extensions?.source ?? null, at: new Date(), busy: false };
  if (data && !answer.errors?.length) return { ...NOTHING, ...done, data };
  if (answer.data && !answer.errors?.length) return { ...NOTHING, ...done, problem: UNREADABLE };
  return { ...NOTHING, ...done, ...(await oneByOne(ask, scope, panels, signal)) };
}

/** What the panels ask for once they know their data; null if nothing, or if that fails: it's just names. */
async function followed(ask: Ask, panels: Panel[], { data }: Answers, signal: AbortSignal) {
  const found: Record<string, unknown> = {};
  for (const panel of panels) {
    const query = data ? panel.follow?.(data) : null;
    if (query) Object.assign(found, (await ask(query, signal).catch(() => null))?.data);
  }
  return Object.keys(found).length ? found : null;
}

/** An error of one field takes the whole answer: asks for each panel, one after the other. */
async function oneByOne(ask: Ask, scope: Scope, panels: Panel[], signal: AbortSignal) {
  const found: Record<string, unknown> = {};
  const problems: Record<string, string> = {};
  for (const panel of panels) {
    try {
      const answer = await ask(scope.query(panel.selections, panel.fragments), signal);
      const data = answer.data ? scope.read(answer.data) : null;
      if (data && !answer.errors?.length) Object.assign(found, data);
      else problems[panel.id] = answer.errors?.[0]?.message ?? UNREADABLE;
    } catch (error) {
      if (signal.aborted || (error instanceof Failure && error.problem === "token")) throw error;
      problems[panel.id] = messageOf(error);
    }
  }
  return { data: found, problems };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
