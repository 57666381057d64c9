import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import { GraphiQL } from "graphiql";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { send } from "../shared/api";
import { storedToken } from "../shared/token";

const root = createRoot(document.getElementById("page") as HTMLElement);
root.render(createElement(GraphiQL, { fetcher: (request) => send(storedToken(), request) as never }));
