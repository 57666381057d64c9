/**
 * Lets `JSON.stringify`, by which GraphiQL prints an answer, print integers beyond 2^53 with every digit: as a number
 * where the browser knows `JSON.rawJSON`, else in quotes.
 */

interface RawJson {
  rawJSON?: (text: string) => unknown;
}

export function printBigIntegers(): void {
  Object.defineProperty(BigInt.prototype, "toJSON", {
    configurable: true,
    value(this: bigint): unknown {
      const { rawJSON } = JSON as RawJson;
      return rawJSON ? rawJSON(this.toString()) : this.toString();
    },
  });
}
