/** What a token says of itself. The server decides what it may; the page only chooses what to show. */

export interface Claims {
  subject: string | null;
  /** Whether the token reads just its own user's events. */
  ownOnly: boolean;
}

const READ = "events:read";
const READ_OWN = "events:read:own";

export function claimsOf(token: string): Claims {
  const claims = decoded(token);
  const scopes = scopesOf(claims.scope ?? claims.scp);
  const subject = typeof claims.sub === "string" ? claims.sub : null;
  return { subject, ownOnly: scopes.includes(READ_OWN) && !scopes.includes(READ) };
}

function scopesOf(claim: unknown): string[] {
  return Array.isArray(claim) ? claim.map(String) : String(claim ?? "").split(" ");
}

function decoded(token: string): Record<string, unknown> {
  try {
    const base64 = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
