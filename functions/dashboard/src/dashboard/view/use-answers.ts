/** Asks for the fields of a page: in few requests where answers come fast, and else field after field. */

import { useEffect, useState } from "preact/hooks";
import { Failure, type GraphQLAnswer, type Problem } from "../../shared/api";
import type { Panel } from "../model/picture";
import { batchesOf, needsOf, type Question, requestFor, wavesOf } from "../model/requests";
import type { Request } from "../model/selection";

export type Ask = (request: Request, signal?: AbortSignal) => Promise<GraphQLAnswer>;

export interface Answers {
  /** The fields by alias. */
  data: Record<string, unknown>;
  /** The fields that have been answered, as the question writes them. */
  answered: ReadonlySet<string>;
  /** By field. */
  problems: ReadonlyMap<string, string>;
  /** Of the whole page. */
  problem: string | null;
  source: string | null;
  at: Date | null;
  busy: boolean;
}

const NOTHING: Answers = {
  data: {},
  answered: new Set(),
  problems: new Map(),
  problem: null,
  source: null,
  at: null,
  busy: true,
};
const UNREADABLE = "There is no such namespace, or the token may not read it.";
const AT_ONCE = 2; // as many as the API lets one tenant ask

/** Answers to a question, as they come; asks again when `key` changes. */
export function useAnswers(ask: Ask, question: Question, key: string): Answers {
  const [state, setState] = useState<{ key: string; answers: Answers }>({ key: "", answers: NOTHING });
  useEffect(() => {
    const controller = new AbortController();
    const reading = new Reading(ask, question, controller.signal, (answers) => {
      if (!controller.signal.aborted) setState({ key, answers });
    });
    void reading.run();
    return () => controller.abort();
  }, [ask, key]);
  return state.key === key ? state.answers : NOTHING;
}

/** Whether a panel can be drawn, and what is wrong with it. */
export function stateOf(panel: Panel, { answered, problems }: Answers): { isReady: boolean; problem: string | null } {
  const problem = panel.selections.map((field) => problems.get(field)).find((each) => each !== undefined);
  return { isReady: needsOf(panel).every((field) => answered.has(field)), problem: problem ?? null };
}

class Reading {
  #answers = NOTHING;
  readonly #names: Promise<void>[] = [];

  constructor(
    readonly ask: Ask,
    readonly question: Question,
    readonly signal: AbortSignal,
    readonly tell: (answers: Answers) => void,
  ) {}

  async run(): Promise<void> {
    try {
      let batches = (fields: string[]) => [fields];
      for (const wave of wavesOf(this.question)) {
        const start = performance.now();
        await inTurn(batches(wave), (fields) => this.#read(fields));
        const milliseconds = performance.now() - start;
        batches = (fields) => batchesOf(fields, milliseconds);
      }
      this.#change({ busy: false });
      await Promise.all(this.#names);
    } catch (error) {
      if (!this.signal.aborted) this.#change({ busy: false, problem: messageOf(error) });
    }
  }

  async #read(fields: readonly string[]): Promise<void> {
    if (this.signal.aborted) return;
    const answer = await answerOf(this.ask(requestFor(this.question, fields), this.signal));
    const { errors, extensions } = answer;
    if (extensions?.source) this.#change({ source: extensions.source });
    const found = answer.data && !errors?.length ? this.question.scope.read(answer.data) : null;
    if (found) this.#take(fields, found);
    else if (!errors?.length) throw new Error(UNREADABLE);
    else if (fields.length > 1) {
      // An error of one field took the whole answer.
      await inTurn(
        fields.map((field) => [field]),
        (alone) => this.#read(alone),
      );
    } else {
      const problems = new Map(this.#answers.problems);
      for (const field of fields) problems.set(field, errors[0]?.message ?? UNREADABLE);
      this.#change({ problems });
    }
  }

  #take(fields: readonly string[], found: Record<string, unknown>): void {
    const answered = new Set([...this.#answers.answered, ...fields]);
    this.#change({ data: { ...this.#answers.data, ...found }, answered, at: new Date() });
    const panels = this.question.panels.filter(({ selections }) => selections.some((field) => fields.includes(field)));
    this.#names.push(this.#readNames(panels, found));
  }

  /** Reads names that panels show once they know their data; shows none where that fails. */
  async #readNames(panels: readonly Panel[], data: Record<string, unknown>): Promise<void> {
    const fields = new Set(panels.flatMap((panel) => panel.follow?.(data) ?? []));
    if (!fields.size) return;
    const answer = await this.ask({ query: `{ ${[...fields].join(" ")} }` }, this.signal).catch(() => null);
    if (answer?.data) this.#change({ data: { ...this.#answers.data, ...answer.data } });
  }

  #change(changes: Partial<Answers>): void {
    this.#answers = { ...this.#answers, ...changes };
    this.tell(this.#answers);
  }
}

/** An answer, also where it is just a problem of this request. */
async function answerOf(asked: Promise<GraphQLAnswer>): Promise<GraphQLAnswer> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Failure && REQUEST_PROBLEMS.has(error.problem))
      return { errors: [{ message: error.message }] };
    throw error;
  }
}

const REQUEST_PROBLEMS: ReadonlySet<Problem> = new Set<Problem>(["timeout", "server"]);

/** Works through a list from its beginning, at some of it at once. */
async function inTurn<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const next = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
