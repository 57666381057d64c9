// Prints what a page asks for first: the facts where none are given, else the first fields of the overview.
//
// Reads a JSON object from the standard input: `facts` (the answer's data, or null), `today` (a date) and `days`.
// Prints a request as `POST /graphql` takes it.
import { text } from "node:stream/consumers";
import { createServer } from "vite";

const given = JSON.parse(await text(process.stdin));
const server = await createServer({
  appType: "custom",
  configFile: false,
  logLevel: "error",
  optimizeDeps: { noDiscovery: true },
  server: { hmr: false, middlewareMode: true, watch: null, ws: false },
});
const module = (path) => server.ssrLoadModule(`/src/dashboard/${path}`);
try {
  console.log(JSON.stringify(await firstRequest(given)));
} finally {
  await server.close();
}

async function firstRequest({ facts, today, days }) {
  const { FACTS_QUERY, factsOf } = await module("model/facts.ts");
  if (facts === null) return { query: FACTS_QUERY };
  const { INITIAL } = await module("model/address.ts");
  const { requestFor, wavesOf } = await module("model/requests.ts");
  const { PanelContext } = await module("panels/context.ts");
  const { questionOf } = await module("panels/pages.ts");
  const question = questionOf(new PanelContext(factsOf(facts), { ...INITIAL, period: days }, today));
  return requestFor(question, wavesOf(question)[0]);
}
