import "./workers";
import "graphiql/style.css";
import "../shared/style.css";
import "./style.css";
import type { Fetcher, FetcherParams } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createElement } from "react";
import { createRoot, type Root } from "react-dom/client";
import { Failure, send } from "../shared/api";
import { forgetToken, storedToken } from "../shared/token";
import { askForToken } from "../shared/token-form";
import { printBigIntegers } from "./big-integers";
import { correctTabs } from "./tabs";

const QUERY = `{
  aiInstanceUsageData {
    all(first: 10) {
      nodes {
        id
        timestamp
        event
        user {
          id
          username
        }
        namespacePath
        payload
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
}
`;

const page = document.getElementById("page") as HTMLElement;
let root: Root | null = null;

function start(): void {
  const token = storedToken();
  if (token) open(token);
  else askForToken(page, null, open);
}

function open(token: string): void {
  const heading = Object.assign(document.createElement("h1"), { textContent: "Try queries" });
  const holder = document.createElement("div");
  const main = Object.assign(document.createElement("main"), { className: "graphiql" });
  main.append(heading, holder);
  page.replaceChildren(main);
  correctTabs(holder);
  root = createRoot(holder);
  root.render(
    createElement(
      GraphiQL,
      { fetcher: fetcherWith(token), defaultQuery: QUERY },
      createElement(GraphiQL.Logo, null, createElement(Home)),
    ),
  );
}

/** What stands in place of GraphiQL's logo, which leads elsewhere. */
function Home() {
  return createElement(
    "span",
    { className: "graphiql-home" },
    createElement("a", { href: "dashboard" }, "Dashboard"),
    createElement("button", { type: "button", onClick: () => leave(null) }, "Forget token"),
  );
}

/** Sends what GraphiQL asks; where the token isn't valid any more, asks for another. */
function fetcherWith(token: string): Fetcher {
  return async (request: FetcherParams) => {
    try {
      return (await send(token, request)) as Awaited<ReturnType<Fetcher>>;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.problem === "token" || error.problem === "scope") leave(error.message);
      return { errors: [{ message: error.message }] } as unknown as Awaited<ReturnType<Fetcher>>;
    }
  };
}

function leave(reason: string | null): void {
  forgetToken();
  root?.unmount();
  page.replaceChildren();
  askForToken(page, reason, open);
}

printBigIntegers();
start();
