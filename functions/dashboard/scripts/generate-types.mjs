// Writes the types of the GraphQL schema to `src/generated/schema.ts`.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { codegen } from "@graphql-codegen/core";
import * as typescript from "@graphql-codegen/typescript";
import { parse } from "graphql";

const SCHEMA = new URL("../../graphql/schema.graphql", import.meta.url);
const TYPES = new URL("../src/generated/schema.ts", import.meta.url);

const text = await codegen({
  filename: TYPES.pathname,
  schema: parse(readFileSync(SCHEMA, "utf8")),
  documents: [],
  config: {},
  plugins: [
    {
      typescript: {
        enumsAsTypes: true,
        skipTypename: true,
        scalars: { Date: "string", Time: "string", Long: "number | bigint", JSON: "unknown", ID: "string" },
      },
    },
  ],
  pluginMap: { typescript },
});
mkdirSync(new URL(".", TYPES), { recursive: true });
writeFileSync(TYPES, text);
