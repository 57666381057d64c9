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

export interface Condition {
  path: string;
  operator: Operator;
  value: unknown;
}

export const KINDS = ["any", "all", "none", "notAll"] as const;
export type GroupKind = (typeof KINDS)[number];

export const KIND_NAMES: Record<GroupKind, string> = {
  any: "at least one of these",
  all: "all of these",
  none: "none of these",
  notAll: "not all of these",
};

/** Filters of which as many must pass as the kind says. */
export interface FilterGroup {
  kind: GroupKind;
  filters: Filter[];
}

export type Filter = Condition | FilterGroup;

export const isGroup = (filter: Filter): filter is FilterGroup => "kind" in filter;

const MAX_DEPTH = 8;

/** `language:eq:"ruby"`, with the value in JSON; a group as the API takes it, `{"any":[{"path":"language","eq":"ruby"}]}`. */
export function printFilter(filter: Filter): string {
  if (isGroup(filter)) return stringifyExact(argumentOf(filter));
  return `${filter.path}:${filter.operator}:${stringifyExact(filter.value)}`;
}

/** The filter of a text; null if it is none. */
export function parseFilter(text: string): Filter | null {
  if (text.startsWith("{")) {
    const group = filterOf(jsonOf(text));
    if (group) return group;
  }
  const match = /^(.+?):(eq|ne|gte?|lte?|in|notIn|startsWith|like|contains|exists):(.*)$/s.exec(text);
  if (!match) return null;
  const [, path, operator, json] = match as unknown as [string, string, Operator, string];
  return conditionOf(path, operator, jsonOf(json));
}

function jsonOf(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return undefined;
  }
}

/** The filter that the API would make of an argument; null if it is none. */
function filterOf(given: unknown, depth = 0): Filter | null {
  if (typeof given !== "object" || given === null || depth > MAX_DEPTH) return null;
  const { path, ...rest } = given as Record<string, unknown>;
  const [entry, ...others] = Object.entries(rest);
  if (!entry || others.length) return null;
  const [name, value] = entry;
  if (name === "any" || name === "all") return path === undefined ? groupOf(name, value, depth) : null;
  if (name === "not") {
    const within = filterOf(value, depth + 1);
    if (path !== undefined || !within) return null;
    if (isGroup(within) && (within.kind === "any" || within.kind === "all")) {
      return { kind: within.kind === "any" ? "none" : "notAll", filters: within.filters };
    }
    return { kind: "none", filters: [within] };
  }
  const operator = OPERATORS.find((each) => each === name);
  return typeof path === "string" && path && operator ? conditionOf(path, operator, value) : null;
}

function groupOf(kind: GroupKind, given: unknown, depth: number): FilterGroup | null {
  if (!Array.isArray(given) || !given.length) return null;
  const filters = given.map((each) => filterOf(each, depth + 1)).filter((each) => each !== null);
  return filters.length === given.length ? { kind, filters } : null;
}

/** A condition whose value is one that its operator takes; else null. */
function conditionOf(path: string, operator: Operator, value: unknown): Condition | null {
  if (value === undefined) return null;
  if ((operator === "in" || operator === "notIn") && !Array.isArray(value)) return null;
  if ((operator === "startsWith" || operator === "like") && typeof value !== "string") return null;
  if (operator === "exists" && typeof value !== "boolean") return null;
  return { path, operator, value };
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
  return filters.length ? filters.map(argumentOf) : undefined;
}

function argumentOf(filter: Filter): Record<string, unknown> {
  if (!isGroup(filter)) return { path: filter.path, [filter.operator]: filter.value };
  const within = filter.filters.map(argumentOf);
  switch (filter.kind) {
    case "any":
      return { any: within };
    case "all":
      return { all: within };
    case "none":
      return { not: { any: within } };
    case "notAll":
      return { not: { all: within } };
  }
}

/** A filter in words, like `language is ruby`. */
export function describeFilter(filter: Filter): string {
  if (isGroup(filter)) return `${KIND_NAMES[filter.kind]}: ${filter.filters.map(describeFilter).join("; ")}`;
  const { path, operator, value } = filter;
  if (operator === "exists") return `${path} ${value ? "is there" : "is missing"}`;
  const said = Array.isArray(value) ? value.map(String).join(", ") : String(value);
  return `${path} ${OPERATOR_NAMES[operator]} ${said}`;
}
