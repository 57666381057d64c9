/** Writes GraphQL: values as literals or variables, fields with arguments, and where a page's fields begin. */

/** A value of an enum, which GraphQL writes without quotes. */
export class EnumValue {
  constructor(readonly name: string) {}
}

export const enumValue = (name: string) => new EnumValue(name);

/** A value that is sent beside the text of a query, which may then be long and is written once. */
export class Variable {
  constructor(
    readonly name: string,
    readonly type: string,
    readonly value: unknown,
  ) {}
}

export interface Request {
  query: string;
  variables?: Record<string, unknown>;
}

export function literal(value: unknown): string {
  if (value instanceof Variable) return `$${value.name}`;
  if (value instanceof EnumValue) return value.name;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "object" && value !== null) return `{${entries(value)}}`;
  return JSON.stringify(value);
}

/** `(name: value, …)`; empty if every argument is undefined. */
export function args(given: Record<string, unknown>): string {
  const text = entries(given);
  return text ? `(${text})` : "";
}

function entries(given: object): string {
  return Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${literal(value)}`)
    .join(", ");
}

/** A string of a query, in which nothing is a variable, or a variable. */
const STRING_OR_VARIABLE = /"(?:[^"\\]|\\.)*"|\$(\w+)/g;

/**
 * What the fields of a page are about: a namespace, or all that the token may read.
 *
 * A field of `Namespace` that is called `aiUsage` is called `aiInstanceUsage` in `Query`.
 */
export class Scope {
  readonly #variables = new Map<string, Variable>();

  constructor(readonly namespace: string | null) {}

  /** A variable of the scope's queries. */
  variable(name: string, type: string, value: unknown): Variable {
    const variable = new Variable(name, type, value);
    this.#variables.set(name, variable);
    return variable;
  }

  /** A field under an alias, like `byDay: aiUsage(groupBy: [DAY]) { day totalCount }`. */
  field(alias: string, name: string, given: Record<string, unknown>, selection: string): string {
    return `${alias}: ${this.nameOf(name)}${args(given)} { ${selection} }`;
  }

  nameOf(name: string): string {
    return this.namespace === null ? name.replace(/^ai/, "aiInstance") : name;
  }

  /** A request for these fields. */
  request(selections: readonly string[], fragments: readonly string[] = []): Request {
    const text = this.#text(selections, fragments);
    const names = [...text.matchAll(STRING_OR_VARIABLE)].flatMap(([, name]) => name ?? []);
    const used = [...new Set(names)].flatMap((name) => this.#variables.get(name) ?? []);
    if (!used.length) return { query: text };
    return {
      query: `query (${used.map(({ name, type }) => `$${name}: ${type}`).join(", ")}) ${text}`,
      variables: Object.fromEntries(used.map(({ name, value }) => [name, value])),
    };
  }

  /** A query of these fields without variables, to be read and copied. */
  query(selections: readonly string[], fragments: readonly string[] = []): string {
    return this.#text(selections, fragments).replace(STRING_OR_VARIABLE, (found, name?: string) => {
      const variable = name === undefined ? undefined : this.#variables.get(name);
      return variable ? literal(variable.value) : found;
    });
  }

  #text(selections: readonly string[], fragments: readonly string[]): string {
    const lines = selections.map((line) => `${this.namespace === null ? "  " : "    "}${line}`).join("\n");
    const body =
      this.namespace === null
        ? `{\n${lines}\n}`
        : `{\n  namespace(fullPath: ${literal(this.namespace)}) {\n    fullPath\n${lines}\n  }\n}`;
    return [body, ...new Set(fragments)].join("\n");
  }

  /** The fields of an answer by alias; null if the namespace isn't to be read. */
  read(data: Record<string, unknown>): Record<string, unknown> | null {
    return this.namespace === null ? data : (data.namespace as Record<string, unknown> | null);
  }
}
