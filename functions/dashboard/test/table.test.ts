import { expect, test } from "vitest";
import { toCsv } from "../src/dashboard/model/table";

test("CSV quotes what it must, keeps every digit, and runs no formula", () => {
  const csv = toCsv({
    columns: [
      { title: "Name", kind: "text" },
      { title: "Count", kind: "integer" },
      { title: "Payload", kind: "json" },
    ],
    rows: [
      ['a "b", c', 9007199254740993n, { id: 9007199254740993n }],
      ["=1+1", -1, null],
      ["two\nlines", 0.5, true],
    ],
  });
  expect(csv).toBe(
    'Name,Count,Payload\r\n"a ""b"", c",9007199254740993,"{""id"":9007199254740993}"\r\n\'=1+1,-1,\r\n"two\nlines",0.5,true\r\n',
  );
});
