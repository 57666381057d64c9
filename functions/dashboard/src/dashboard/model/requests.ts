/** In which requests the fields of a page are asked for. */

import type { Panel } from "./picture";
import type { Request, Scope } from "./selection";

/** What a page asks for. */
export interface Question {
  scope: Scope;
  panels: Panel[];
  /** A field that no panel needs; it comes last. */
  freshness: string | null;
}

/** The fields that the first panel needs, then those that the others need, then those that panels can be drawn without. */
export function wavesOf({ panels, freshness }: Question): string[][] {
  const needed = panels.map(needsOf);
  const others = [...panels.flatMap(({ selections }) => selections), ...(freshness ? [freshness] : [])];
  const all = [...new Set([...needed.flat(), ...others])];
  const first = new Set(needed[0]);
  return [[...first], all.filter((field) => !first.has(field))].filter(({ length }) => length);
}

const BATCH = 600; // milliseconds that the fields of a request may take

/**
 * Fields in as many requests as draw the page steadily: all in one where answers come fast.
 *
 * @param milliseconds how long the first answer took.
 */
export function batchesOf(fields: readonly string[], milliseconds: number): string[][] {
  const size = Math.max(1, Math.floor(BATCH / Math.max(1, milliseconds)));
  const batches: string[][] = [];
  for (let first = 0; first < fields.length; first += size) batches.push(fields.slice(first, first + size));
  return batches;
}

/** The fields without which a panel can't be drawn. */
export const needsOf = (panel: Panel) => panel.needs ?? panel.selections;

/** A request for fields, with the fragments that these spread. */
export function requestFor({ scope, panels }: Question, fields: readonly string[]): Request {
  const fragments = new Set(panels.flatMap((panel) => panel.fragments ?? []));
  const spread = [...fragments].filter((fragment) => {
    const name = /^fragment (\w+)/.exec(fragment)?.[1] ?? "";
    return fields.some((field) => new RegExp(`\\.\\.\\.${name}\\b`).test(field));
  });
  return scope.request(fields, spread);
}

/** What a page asks for, as a text that changes with it. */
export function keyOf(question: Question): string {
  const { scope, panels } = question;
  const fragments = panels.flatMap((panel) => panel.fragments ?? []);
  return scope.query(wavesOf(question).flat(), fragments);
}
