/** Writes GraphQL: values as literals, fields with arguments, and where a page's fields begin. */

/** A value of an enum, which GraphQL writes without quotes. */
export class EnumValue {
  constructor(readonly name: string) {}
}

export const enumValue = (name: string) => new EnumValue(name);

export function literal(value: unknown): string {
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

/**
 * What the fields of a page are about: a namespace, or all that the token may read.
 *
 * A field of `Namespace` that is called `aiUsage` is called `aiInstanceUsage` in `Query`.
 */
export class Scope {
  constructor(readonly namespace: string | null) {}

  /** A field under an alias, like `byDay: aiUsage(groupBy: [DAY]) { day totalCount }`. */
  field(alias: string, name: string, given: Record<string, unknown>, selection: string): string {
    return `${alias}: ${this.nameOf(name)}${args(given)} { ${selection} }`;
  }

  nameOf(name: string): string {
    return this.namespace === null ? name.replace(/^ai/, "aiInstance") : name;
  }

  /** A whole query of these fields. */
  query(selections: readonly string[], fragments: readonly string[] = []): string {
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
