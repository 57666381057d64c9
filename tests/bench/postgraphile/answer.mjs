// Answers a query with PostGraphile in this process, once for each line on the standard input.
//
// Arguments: URL of the database, user id, number of events. Prints the first answer, then for each line the seconds
// that the query took, from its text to the JSON of the answer.

import { createInterface } from "node:readline";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafast } from "postgraphile/grafast";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

const [connectionString, user, first] = process.argv.slice(2);
const source = `
  query ($user: BigInt!, $first: Int!) {
    allAiUsageEvents(condition: { userId: $user }, first: $first, orderBy: [TIMESTAMP_DESC, ROW_ID_DESC]) {
      nodes { rowId timestamp event userId namespacePath payload }
      pageInfo { hasNextPage endCursor }
    }
  }
`;
console.warn = console.error; // the standard output is for answers
const server = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString, schemas: ["public"] })],
});
const { schema, resolvedPreset } = await server.getSchemaResult();

async function answer() {
  const variableValues = { user, first: Number(first) };
  return JSON.stringify(await grafast({ schema, source, resolvedPreset, requestContext: {}, variableValues }));
}

process.stdout.write(`${await answer()}\n`);
for await (const _ of createInterface({ input: process.stdin })) {
  const start = performance.now();
  await answer();
  process.stdout.write(`${(performance.now() - start) / 1000}\n`);
}
await server.release();
process.exit(0);
