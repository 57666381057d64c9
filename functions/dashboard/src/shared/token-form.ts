/** Asks for a token; both pages use it, so it is plain DOM. */

import { storeToken } from "./token";

/**
 * Shows a form that asks for a token, and calls `entered` once there is one.
 *
 * @param reason why it is asked for; null at first.
 */
export function askForToken(into: HTMLElement, reason: string | null, entered: (token: string) => void): void {
  const form = element("form", { className: "token-form", noValidate: true });
  const heading = element("h1", { textContent: "AI usage" });
  const label = element("label", { textContent: "Token", htmlFor: "token" });
  const input = element("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: false,
    required: true,
  });
  const hint = element("p", {
    id: "token-hint",
    className: "hint",
    textContent:
      "A token with the scope events:read, or events:read:own for your own usage. It stays in this tab until the tab is closed.",
  });
  const problem = element("p", { id: "token-problem", className: "problem", textContent: reason ?? "" });
  problem.setAttribute("role", "alert");
  input.setAttribute("aria-describedby", "token-hint token-problem");
  if (reason) input.setAttribute("aria-invalid", "true");
  form.append(heading, label, input, hint, problem, element("button", { textContent: "Continue" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!input.value.trim()) {
      problem.textContent = "Enter a token.";
      input.setAttribute("aria-invalid", "true");
      input.focus();
      return;
    }
    const token = storeToken(input.value);
    main.remove();
    entered(token);
  });
  const main = element("main", { className: "token-page" });
  main.append(form);
  into.append(main);
  input.focus();
}

function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Partial<HTMLElementTagNameMap[Name]>,
): HTMLElementTagNameMap[Name] {
  return Object.assign(document.createElement(name), properties);
}
