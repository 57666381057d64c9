/** What the API can answer, as its schema and its definitions say: nothing of it is known beforehand. */

import type { EventDefinition, MetricDefinition, PayloadKey } from "../../generated/schema";
import { type Kind, words } from "./format";
import { OPERATORS, type Operator } from "./payload-filter";

export interface Metric {
  name: string;
  title: string;
  description: string;
  kind: Kind;
  /** What the number is in, like `ms`. */
  unit?: string | undefined;
  /** Whether there is no value without events; else it is zero then. */
  nullable: boolean;
  /** Whether it counts events or their users, so that no payload is read for it. */
  isCount: boolean;
}

export interface Feature {
  /** The name in the definitions, like `code_suggestions`. */
  name: string;
  description: string;
  owner: string;
  enumValue: string;
  /** The field of `AiMetrics`, with the type of its metrics; null if the schema can't be read. */
  metricsField: string | null;
  metricsType: string | null;
  metrics: Metric[];
  events: EventDefinition[];
  keys: PayloadKey[];
}

export interface Facts {
  features: Feature[];
  /** Arguments by field, and the fields of its rows, of `Namespace`. */
  fields: Map<string, { args: Set<string>; rows: Set<string> }>;
  canSearchNamespaces: boolean;
  /** The operators of filters on payloads. */
  operators: Operator[];
  /** Whether filters can be in groups, of which any or all must pass. */
  canGroupFilters: boolean;
}

export const FACTS_QUERY = `{
  eventDefinitions { id name feature owner deprecated description payload { name type description } }
  metricDefinitions { name feature kind unit description }
  query: __type(name: "Query") { fields { name } }
  namespace: __type(name: "Namespace") { fields { name args { name } type { ...row } } }
  metrics: __type(name: "AiMetrics") {
    fields { name type { ofType { name fields { name description args { defaultValue type { kind } } type { ...value } } } } }
  }
  features: __type(name: "AiUsageFeature") { enumValues { name description } }
  filters: __type(name: "PayloadFilter") { inputFields { name } }
}
fragment value on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }
fragment row on __Type { kind name ofType { kind name fields { name } ofType { kind name ofType { name fields { name } } } } }`;

/** The part that needs no introspection, where a server forbids that. */
export const DEFINITIONS_QUERY = FACTS_QUERY.slice(0, FACTS_QUERY.indexOf("  query:")).concat("}");

interface IntrospectedType {
  kind: string;
  name: string | null;
  ofType: IntrospectedType | null;
  fields?: { name: string }[] | null;
}
interface IntrospectedField {
  name: string;
  description?: string | null;
  args?: { name: string; defaultValue?: string | null; type?: { kind: string } }[];
  type: IntrospectedType & { ofType: (IntrospectedType & { fields?: IntrospectedField[] | null }) | null };
}
export interface FactsAnswer {
  eventDefinitions: EventDefinition[];
  metricDefinitions?: MetricDefinition[] | null;
  query?: { fields: { name: string }[] } | null;
  namespace?: { fields: IntrospectedField[] } | null;
  metrics?: { fields: IntrospectedField[] } | null;
  filters?: { inputFields: { name: string }[] } | null;
  features?: { enumValues: { name: string; description: string | null }[] } | null;
}

export function factsOf(answer: FactsAnswer): Facts {
  const byName = new Map<string, EventDefinition[]>();
  for (const event of answer.eventDefinitions) {
    byName.set(event.feature, [...(byName.get(event.feature) ?? []), event]);
  }
  const descriptions = new Map(answer.features?.enumValues.map((value) => [value.name, value.description ?? ""]));
  return {
    features: [...byName].map(([name, events]) => featureOf(name, events, answer, descriptions)).sort(byTitle),
    fields: new Map(
      (answer.namespace?.fields ?? KNOWN_FIELDS).map((field) => [
        field.name,
        { args: new Set(field.args?.map(({ name }) => name)), rows: new Set(rowFields(field.type)) },
      ]),
    ),
    operators: OPERATORS.filter(
      (operator) => !answer.filters || answer.filters.inputFields.some(({ name }) => name === operator),
    ),
    canGroupFilters: answer.filters?.inputFields.some(({ name }) => name === "any") ?? false,
    canSearchNamespaces: answer.query?.fields.some(({ name }) => name === "namespaces") ?? false,
  };
}

const KNOWN_FIELDS: IntrospectedField[] = [];

const byTitle = (one: Feature, other: Feature) => one.name.localeCompare(other.name);

function featureOf(
  name: string,
  events: EventDefinition[],
  answer: FactsAnswer,
  descriptions: Map<string, string>,
): Feature {
  const field = answer.metrics?.fields.find((each) => each.name === camelCase(name));
  const type = field?.type.ofType ?? null;
  const keys = new Map(events.flatMap((event) => event.payload).map((key) => [key.name, key]));
  const enumName = name.toUpperCase();
  return {
    name,
    description: descriptions.get(enumName) ?? "",
    owner: events[0]?.owner ?? "",
    enumValue: enumName,
    metricsField: field?.name ?? null,
    metricsType: type?.name ?? null,
    metrics: inOrder(
      (type?.fields ?? [])
        .flatMap((each) => metricOf(each as IntrospectedField))
        .map((metric) => ({ ...metric, ...declared(metric, name, answer.metricDefinitions ?? []) })),
      events,
      descriptions.get(enumName) ?? "",
    ),
    events,
    keys: [...keys.values()],
  };
}

/** What the definition itself says of a metric. A ratio in percent is a share; any other number in a unit is none. */
function declared(metric: Metric, feature: string, definitions: readonly MetricDefinition[]): Partial<Metric> {
  const found = definitions.find((each) => each.feature === feature && each.name === metric.name);
  if (!found) return {};
  const { description, unit } = found;
  if (!unit) return { description };
  if (unit === "%" && found.kind === "ratio") return { description, kind: "rate" };
  return { description, unit, kind: metric.kind === "rate" ? "decimal" : metric.kind };
}

/** A field of numbers, or of a list of texts, as a metric; none for other fields. */
function metricOf(field: IntrospectedField): Metric[] {
  const type = nullable(field.type);
  if (field.args?.some((arg) => arg.type?.kind === "NON_NULL" && arg.defaultValue === null)) return [];
  const kind = type?.kind === "LIST" ? listKind(nullable(type.ofType)) : kindOf(type?.name ?? "", field.name);
  if (!kind) return [];
  const { name, description } = field;
  const about = { title: words(name), description: description ?? "", kind };
  return [{ name, ...about, nullable: field.type.kind !== "NON_NULL", isCount: name in TOTALS }];
}

const nullable = (type: IntrospectedType | null) => (type?.kind === "NON_NULL" ? type.ofType : type);

const listKind = (item: IntrospectedType | null): Kind | null =>
  item?.kind === "SCALAR" || item?.kind === "ENUM" ? "list" : null;

/** Totals, then what the team declared, then a count for each event that is still accepted. */
function inOrder(metrics: Metric[], events: EventDefinition[], ofFeature: string): Metric[] {
  const counts = new Map(events.map((event) => [`${camelCase(event.name)}EventCount`, event]));
  const rank = ({ name }: Metric) => (name in TOTALS ? 0 : counts.has(name) ? 2 : 1);
  return metrics
    .filter(({ name }) => !counts.get(name)?.deprecated)
    .sort((one, other) => rank(one) - rank(other))
    .map((metric) => {
      const event = counts.get(metric.name);
      if (event) {
        const description = event.description === ofFeature ? "" : event.description;
        return { ...metric, title: words(event.name), description, isCount: true };
      }
      const total = TOTALS[metric.name];
      return total ? { ...metric, title: total, description: "" } : metric;
    });
}

const TOTALS: Record<string, string> = { totalEventCount: "Events", contributorsCount: "Users" };

function kindOf(type: string, name: string): Kind | null {
  if (type === "Long" || type === "Int") return "integer";
  if (type !== "Float") return null;
  if (/(rate|ratio|share)$/i.test(name)) return "rate";
  return "decimal";
}

/** The names of the fields of a list's items, or of an object. */
function rowFields(type: IntrospectedType): string[] {
  for (let each: IntrospectedType | null = type; each; each = each.ofType) {
    if (each.fields) return each.fields.map(({ name }) => name);
  }
  return [];
}

export function camelCase(name: string): string {
  return name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
