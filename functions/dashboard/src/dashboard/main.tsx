import "../shared/style.css";
import "./style.css";
import { render } from "preact";
import { Failure, send } from "../shared/api";
import { claimsOf } from "../shared/claims";
import { forgetToken, storedToken } from "../shared/token";
import { askForToken } from "../shared/token-form";
import { DEFINITIONS_QUERY, FACTS_QUERY, type Facts, type FactsAnswer, factsOf } from "./model/facts";
import { App } from "./view/app";
import type { Ask } from "./view/use-answers";

const page = document.getElementById("page") as HTMLElement;

function start(): void {
  const token = storedToken();
  if (token) void open(token);
  else askForToken(page, null, open);
}

async function open(token: string): Promise<void> {
  render(<p class="waiting">Loading…</p>, page);
  const ask: Ask = async (request, signal) => {
    try {
      return await send(token, request, signal);
    } catch (error) {
      if (error instanceof Failure && (error.problem === "token" || error.problem === "scope")) leave(error.message);
      throw error;
    }
  };
  try {
    const facts = await readFacts(ask);
    render(<App facts={facts} claims={claimsOf(token)} ask={ask} leave={() => leave(null)} />, page);
  } catch (error) {
    if (storedToken()) render(<Broken message={error instanceof Error ? error.message : String(error)} />, page);
  }
}

/** The schema and definitions; just the definitions where the server forbids to read the schema. */
async function readFacts(ask: Ask): Promise<Facts> {
  let problem = "The definitions can't be read.";
  for (const query of [FACTS_QUERY, DEFINITIONS_QUERY]) {
    const answer = await ask({ query });
    if (answer.data) return factsOf(answer.data as unknown as FactsAnswer);
    problem = answer.errors?.[0]?.message ?? problem;
  }
  throw new Error(problem);
}

function leave(reason: string | null): void {
  forgetToken();
  render(null, page);
  askForToken(page, reason, open);
}

function Broken({ message }: { message: string }) {
  return (
    <main class="broken">
      <h1>AI usage</h1>
      <p class="problem" role="alert">
        {message}
      </p>
      <button type="button" onClick={() => location.reload()}>
        Try again
      </button>
    </main>
  );
}

start();
