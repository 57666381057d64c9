import { expect, test } from "vitest";
import { claimsOf } from "../src/shared/claims";
import { cleanToken } from "../src/shared/token";

function token(claims: object): string {
  const bytes = new TextEncoder().encode(JSON.stringify(claims));
  const base64 = btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
  return `e30.${base64}.signature`;
}

test.each([
  [
    { sub: "7", scope: "events:read" },
    { subject: "7", ownOnly: false },
  ],
  [
    { sub: "7", scope: "events:read:own" },
    { subject: "7", ownOnly: true },
  ],
  [
    { sub: "ü", scp: ["events:read:own", "events:read"] },
    { subject: "ü", ownOnly: false },
  ],
  [{}, { subject: null, ownOnly: false }],
])("a token says whose it is and what it reads: %#", (claims, said) => {
  expect(claimsOf(token(claims))).toEqual(said);
});

test.each(["", "x", "a.b.c", "a.bnVsbA.c"])("a token that is none says nothing: %j", (text) => {
  expect(claimsOf(text)).toEqual({ subject: null, ownOnly: false });
});

test("a token is taken as it was copied", () => {
  expect(cleanToken(" Bearer abc.\ndef ")).toBe("abc.def");
});
