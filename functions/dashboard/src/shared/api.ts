/** Asks the GraphQL function. */

import { parseExact, stringifyExact } from "./exact-json";

const SECONDS = 40; // the gateway gives up after 29

export type Problem = "token" | "scope" | "query" | "server" | "network" | "timeout";

/** Why there is no answer, in words for the reader. */
export class Failure extends Error {
  constructor(
    readonly problem: Problem,
    message: string,
  ) {
    super(message);
    this.name = "Failure";
  }
}

export interface GraphQLAnswer {
  data?: Record<string, unknown> | null;
  errors?: { message: string; path?: (string | number)[] }[];
  extensions?: { source?: string };
}

/** The address of the GraphQL function: both pages lie beside it. */
export function endpoint(): string {
  return new URL("graphql", location.href.replace(/[?#].*$/, "")).href;
}

/**
 * Sends a query.
 *
 * @throws Failure where there is no answer of GraphQL at all; errors of a query are in the answer.
 */
export async function send(token: string, body: unknown, signal?: AbortSignal): Promise<GraphQLAnswer> {
  const ends = AbortSignal.timeout(SECONDS * 1000);
  let response: Response;
  let text: string;
  try {
    response = await fetch(endpoint(), {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", Authorization: `Bearer ${token}` },
      body: stringifyExact(body),
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: signal ? AbortSignal.any([signal, ends]) : ends,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (ends.aborted) throw new Failure("timeout", `No answer came within ${SECONDS} seconds. Ask for fewer days.`);
    throw new Failure("network", "The server can't be reached. Check the connection and try again.");
  }
  const answer = readAnswer(text);
  if (response.status === 401) throw new Failure("token", messageOf(answer, "The token isn't valid."));
  if (response.status === 403) throw new Failure("scope", messageOf(answer, "The token may not read events."));
  if (response.status === 504) throw new Failure("timeout", "The query took too long. Ask for fewer days.");
  if (answer === null) throw new Failure("server", `The server answered ${response.status}, without JSON.`);
  if (!("data" in answer) && !("errors" in answer)) {
    throw new Failure("server", messageOf(answer, `The server answered ${response.status}.`));
  }
  return answer;
}

function readAnswer(text: string): (GraphQLAnswer & { message?: string }) | null {
  try {
    const answer = parseExact(text);
    return typeof answer === "object" ? (answer as GraphQLAnswer) : null;
  } catch {
    return null;
  }
}

function messageOf(answer: { message?: string } | null, otherwise: string): string {
  return answer?.message ?? otherwise;
}
