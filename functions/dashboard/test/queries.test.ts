/** The queries of every page are answered by the schema: as it is, with less than pages know, and with more. */

import {
  buildASTSchema,
  buildSchema,
  extendSchema,
  type GraphQLSchema,
  getVariableValues,
  graphqlSync,
  Kind,
  parse,
  validate,
  visit,
} from "graphql";
import { expect, test } from "vitest";
import text from "../../graphql/schema.graphql?raw";
import { GROUPS, INITIAL, type State } from "../src/dashboard/model/address";
import { FACTS_QUERY, type Facts, type FactsAnswer, factsOf } from "../src/dashboard/model/facts";
import { Formats } from "../src/dashboard/model/format";
import { requestFor, wavesOf } from "../src/dashboard/model/requests";
import { PanelContext } from "../src/dashboard/panels/context";
import { panelsOf, questionOf } from "../src/dashboard/panels/pages";

const MAX_ALIASES = 50; // functions/graphql/limits.py
const MAX_CHARACTERS = 10_000;
const MAX_NODES = 10_000;
const TODAY = "2026-11-29";

const KEYS = [
  { name: "session_id", type: "int", description: "" },
  { name: "language", type: "str", description: "" },
];
const EVENTS = [
  ["code_suggestion_shown_in_ide", "code_suggestions", false],
  ["code_suggestions_requested", "code_suggestions", true],
  ["request_duo_chat_response", "chat", false],
] as const;

const eventDefinitions = EVENTS.map(([name, feature, deprecated], id) => ({
  id,
  name,
  feature,
  deprecated,
  owner: "a team",
  description: "",
  payload: KEYS,
}));

const metricDefinitions = [
  {
    name: "shownLinesOfCode",
    feature: "code_suggestions",
    kind: "sum",
    unit: "lines",
    description: "Of `shown` ones.",
  },
];

const OPTIONAL =
  /^ai(Instance)?(ActiveUsers|UserLifecycle|UserRetention|UsageTiers|Adoption|Seats|IdleSeats|Sessions)$/;

const schema = buildSchema(text);
const poorer = buildASTSchema(
  visit(parse(text), { FieldDefinition: (field) => (OPTIONAL.test(field.name.value) ? null : undefined) }),
);
const richer = extendSchema(
  schema,
  parse(`type FurtherFlow { flowType: String } extend type CodeSuggestionsMetrics {
    furtherFlows: [FurtherFlow!]! furtherFlow: FurtherFlow furtherCount(of: String!): Long! furtherRate(of: String): Float
    furtherPart: Float
  }`),
);

function factsIn(of: GraphQLSchema, definitions = metricDefinitions): Facts {
  const { data, errors } = graphqlSync({
    schema: of,
    source: FACTS_QUERY,
    rootValue: { eventDefinitions, metricDefinitions: definitions },
  });
  expect(errors).toBeUndefined();
  return factsOf(JSON.parse(JSON.stringify(data)) as FactsAnswer);
}

const FEATURE: State = { ...INITIAL, view: { page: "feature", feature: "code_suggestions" } };
const STATES: [string, State][] = [
  ["the overview", INITIAL],
  ["the overview of a namespace", { ...INITIAL, namespace: 'a/"b"', period: 90 }],
  ["the overview of one day, compared with nothing", { ...INITIAL, period: 1, comparison: "none" }],
  ["a feature", FEATURE],
  ["a feature over ten years", { ...FEATURE, period: 3660 }],
  [
    "a feature in a namespace, filtered",
    {
      ...FEATURE,
      namespace: "a/b",
      period: 31,
      breakdown: "a.b",
      filters: [
        { path: "language", operator: "in", value: ["ruby", 9007199254740993n] },
        { path: "n", operator: "exists", value: true },
        { kind: "none", filters: [{ path: "language", operator: "like", value: "x".repeat(10_000) }] },
      ],
    },
  ],
  ...GROUPS.map((group): [string, State] => [`a feature by ${group}`, { ...FEATURE, group }]),
  ["a person", { ...INITIAL, view: { page: "user", user: "7" } }],
];

test.each([
  ["the schema", schema],
  ["a schema without the fields that pages can do without", poorer],
  ["a richer schema", richer],
])("every page asks for what %s has, within the limits", (_, each) => {
  const facts = factsIn(each);
  for (const [page, state] of STATES) {
    const context = new PanelContext(facts, state, TODAY, new Formats("en-GB"));
    const question = questionOf(context);
    const { query, variables = {} } = requestFor(question, wavesOf(question).flat());
    expect(query.length, page).toBeLessThanOrEqual(MAX_CHARACTERS);
    const document = parse(query);
    expect(validate(each, document), page).toEqual([]);
    const [operation] = document.definitions;
    const declared = operation?.kind === Kind.OPERATION_DEFINITION ? (operation.variableDefinitions ?? []) : [];
    expect(getVariableValues(each, declared, variables).errors, page).toBeUndefined();
    let [aliases, nodes] = [0, 0];
    visit(document, {
      Field({ alias }) {
        aliases += alias ? 1 : 0;
      },
      Argument({ name, value }) {
        nodes += name.value === "first" && value.kind === Kind.INT ? Number(value.value) : 0;
      },
    });
    expect(aliases, page).toBeLessThanOrEqual(MAX_ALIASES);
    expect(nodes, page).toBeLessThanOrEqual(MAX_NODES);
    for (const panel of question.panels) {
      expect(validate(each, parse(context.scope.query(panel.selections, panel.fragments))), panel.id).toEqual([]);
    }
  }
});

test("a schema with more has more panels", () => {
  const panels = (facts: Facts) => panelsOf(new PanelContext(facts, INITIAL, TODAY)).map(({ id }) => id);
  expect(panels(factsIn(richer))).toEqual(expect.arrayContaining(["retention", "tiers", "active-users", "lifecycle"]));
  const feature = new PanelContext(factsIn(richer), FEATURE, TODAY);
  expect(panelsOf(feature).map(({ id }) => id)).toContain("sessions");
});

test("a feature's metrics come from the schema: totals, what is declared, then its events but for deprecated ones", () => {
  const feature = factsIn(schema).features.find(({ name }) => name === "code_suggestions");
  const names = feature?.metrics.map(({ name }) => name) ?? [];
  expect(names.slice(0, 2)).toEqual(["totalEventCount", "contributorsCount"]);
  expect(names).toContain("acceptanceRate");
  expect(names.indexOf("acceptanceRate")).toBeLessThan(names.indexOf("codeSuggestionShownInIdeEventCount"));
  expect(names).not.toContain("codeSuggestionsRequestedEventCount");
  expect(feature?.metrics.find(({ name }) => name === "acceptanceRate")?.kind).toBe("rate");
  expect(feature?.metrics.find(({ name }) => name === "languages")?.kind).toBe("list");
});

test("a metric is a field of numbers or texts that needs no argument", () => {
  const feature = factsIn(richer).features.find(({ name }) => name === "code_suggestions");
  const further = feature?.metrics.filter(({ name }) => name.startsWith("further"));
  expect(further?.map(({ name, kind }) => [name, kind])).toEqual([
    ["furtherRate", "rate"],
    ["furtherPart", "decimal"],
  ]);
});

test.each([
  ["acceptanceRate", "ratio", "", "50%", "50%"],
  ["acceptanceRate", "ratio", "%", "50%", "50%"],
  ["furtherPart", "ratio", "%", "50%", "50%"],
  ["acceptanceRate", "avg", "%", "0.5\u00a0%", "0.5\u00a0%"],
  ["acceptanceRate", "ratio", "lines", "0.5\u00a0lines", "0.5\u00a0lines"],
  ["acceptanceRate", "ratio", "s", "0.5 s", "0.5 s"],
])("half of %s, declared as %s in '%s', is %s, on an axis %s", (name, kind, unit, shown, tick) => {
  const definition = { name, feature: "code_suggestions", kind, unit, description: "" };
  const feature = factsIn(richer, [definition]).features.find((each) => each.name === "code_suggestions");
  const metric = feature?.metrics.find((each) => each.name === name);
  const formats = new Formats("en-GB");
  expect(formats.value(0.5, metric?.kind ?? "text", metric?.unit)).toBe(shown);
  expect(formats.tick(0.5, metric?.kind ?? "text", metric?.unit)).toBe(tick);
});

test("without introspection, pages show what the definitions alone say", () => {
  const facts = factsOf({ eventDefinitions });
  const context = new PanelContext(facts, FEATURE, TODAY);
  const panels = panelsOf(context);
  expect(panels.map(({ id }) => id)).toEqual(["totals", "events", "breakdown", "users", "newest"]);
  expect(validate(schema, parse(context.scope.query(panels.flatMap(({ selections }) => selections))))).toEqual([]);
});
