/** Filters on payloads, as the reader writes them and as the API takes them. */

import { parseExact, stringifyExact } from "../../shared/exact-json";

export const OPERATORS = [
  "eq",
  "ne",
  "gt",
  "gte",
  "lt",
  "lte",
  "in",
  "notIn",
  "startsWith",
  "like",
  "contains",
  "exists",
] as const;
export type Operator = (typeof OPERATORS)[number];

export const OPERATOR_NAMES: Record<Operator, string> = {
  eq: "is",
  ne: "is not",
  gt: "greater than",
  gte: "at least",
  lt: "less than",
  lte: "at most",
  in: "is one of",
  notIn: "is none of",
  startsWith: "begins with",
  like: "is like",
  contains: "has the element",
  exists: "is there",
};

export interface Filter {
  path: string;
  operator: Operator;
  value: unknown;
}

/** `language:eq:"ruby"`: the value is JSON. */
export function printFilter({ path, operator, value }: Filter): string {
  return `${path}:${operator}:${stringifyExact(value)}`;
}

/** The filter of a text; null if it is none. */
export function parseFilter(text: string): Filter | null {
  const match = /^(.+?):(eq|ne|gte?|lte?|in|notIn|startsWith|like|contains|exists):(.*)$/s.exec(text);
  if (!match) return null;
  const [, path, operator, json] = match as unknown as [string, string, Operator, string];
  try {
    const value = parseExact(json);
    if ((operator === "in" || operator === "notIn") && !Array.isArray(value)) return null;
    if ((operator === "startsWith" || operator === "like") && typeof value !== "string") return null;
    if (operator === "exists" && typeof value !== "boolean") return null;
    return { path, operator, value };
  } catch {
    return null;
  }
}

/** The value of what was typed: a number, boolean or text in quotes is what it is in JSON, all else is text. */
export function typedValue(typed: string, operator: Operator): unknown {
  if (operator === "exists") return typed.trim().toLowerCase() !== "false" && typed.trim().toLowerCase() !== "no";
  if (operator === "startsWith" || operator === "like") return typed;
  if (operator === "in" || operator === "notIn") return typed.split(",").map((part) => scalarOf(part.trim()));
  return scalarOf(typed.trim());
}

function scalarOf(typed: string): unknown {
  if (/^(-?\d+(\.\d+)?([eE][-+]?\d+)?|true|false|".*")$/s.test(typed)) {
    try {
      return parseExact(typed);
    } catch {
      return typed;
    }
  }
  return typed;
}

/** The argument `payload` of the API; undefined for none. */
export function filterArgument(filters: readonly Filter[]): Record<string, unknown>[] | undefined {
  return filters.length ? filters.map(({ path, operator, value }) => ({ path, [operator]: value })) : undefined;
}

/** A filter in words, like `language is ruby`. */
export function describeFilter({ path, operator, value }: Filter): string {
  if (operator === "exists") return `${path} ${value ? "is there" : "is missing"}`;
  const said = Array.isArray(value) ? value.map(String).join(", ") : String(value);
  return `${path} ${OPERATOR_NAMES[operator]} ${said}`;
}
