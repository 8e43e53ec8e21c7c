import { describe, expect, test } from "vitest";
import {
  commandOf,
  isSecretName,
  NO_WISHES,
  recall,
  remember,
  requestOf,
  splitWords,
  type Wishes,
} from "../../src/console/wishes.ts";

const FIT = { rows: 40, cols: 120 };
const asked = (change: Partial<Wishes>) => requestOf({ ...NO_WISHES, ...change }, FIT);

describe("a request", () => {
  test("for nothing special has only the size of the window", () => {
    expect(asked({})).toEqual({ wanted: FIT, errors: {} });
  });

  test("has everything that was wished", () => {
    const { wanted, errors } = asked({
      program: "fish",
      name: " build ",
      sizing: "fixed",
      rows: "30",
      cols: " 100 ",
      cwd: "/srv",
      env: [{ name: "A", value: "b=c" }],
      labels: [{ name: "team", value: "ops" }],
      lifetime: "900",
      keepalive: false,
      policy: "latest",
      retention: "1048576",
      backend: "local",
    });
    expect(errors).toEqual({});
    expect(wanted).toEqual({
      shell: "fish",
      name: "build",
      rows: 30,
      cols: 100,
      cwd: "/srv",
      env: { A: "b=c" },
      labels: { team: "ops" },
      ttl_seconds: 900,
      keepalive: false,
      size_policy: "latest",
      retention_bytes: 1_048_576,
      backend: "local",
    });
  });

  test("for a command has no shell", () => {
    expect(asked({ program: "custom", command: "htop -d 5" }).wanted).toEqual({ ...FIT, command: ["htop", "-d", "5"] });
  });

  test("is refused by field before it is sent", () => {
    expect(asked({ program: "custom", command: "  " }).errors).toEqual({ command: "which program?" });
    expect(Object.keys(asked({ sizing: "fixed", rows: "1.5", cols: "1001" }).errors)).toEqual(["rows", "cols"]);
    expect(Object.keys(asked({ lifetime: "custom", lifetimeText: "soon" }).errors)).toEqual(["ttl_seconds"]);
    expect(asked({ env: [{ name: "", value: "x" }] }).errors).toEqual({ env: "a value has no name" });
    expect(asked({ labels: [{ name: "a b", value: "" }] }).errors["labels"]).toMatch(/“a b”/);
    const twice = { name: "A", value: "1" };
    expect(asked({ env: [twice, twice] }).errors).toEqual({ env: "“A” is there twice" });
  });

  test("leaves out rows that are empty", () => {
    expect(asked({ env: [{ name: "", value: "" }] })).toEqual({ wanted: FIT, errors: {} });
  });

  test("reads another time to live", () => {
    expect(asked({ lifetime: "custom", lifetimeText: "2d" }).wanted.ttl_seconds).toBe(172_800);
  });
});

describe("a command", () => {
  test.each([
    ["htop", ["htop"]],
    ["  a   b ", ["a", "b"]],
    [`sh -c 'echo "hi there"; exit 3'`, ["sh", "-c", `echo "hi there"; exit 3`]],
    [`a "b c" d\\ e`, ["a", "b c", "d e"]],
    [`a"b"'c'd`, ["abcd"]],
    [`"say \\"x\\" \\n \\$HOME"`, [`say "x" \\n $HOME`]],
    [`''`, [""]],
    [`a ''`, ["a", ""]],
    [`"unclosed text`, ["unclosed text"]],
    ["C:\\\\tools\\\\x.exe", ["C:\\tools\\x.exe"]],
    ["", []],
  ])("in one line, %j, is read as a shell would", (line, words) => expect(splitWords(line)).toEqual(words));

  test("of several lines has an argument in each, as it is", () => {
    expect(commandOf('sh\n-c\necho "$HOME"  \r\n\nlast\n\n')).toEqual(["sh", "-c", 'echo "$HOME"  ', "", "last"]);
  });
});

test.each([
  "API_TOKEN",
  "DB_PASSWORD",
  "aws_secret_access_key",
  "SSH_KEY",
  "apikey",
  "GH_PAT_AUTH",
  "PGPASS",
  "MY_PIN",
])("%s looks secret", (name) => expect(isSecretName(name)).toBe(true));

test.each(["PATH", "PWD", "OLDPWD", "KEYBOARD", "LANG", "MONKEY", "PINNED"])("%s does not", (name) =>
  expect(isSecretName(name)).toBe(false),
);

describe("what is remembered", () => {
  function memory(text: string | null = null) {
    return {
      text,
      getItem: () => text,
      setItem(_: string, value: string) {
        this.text = value;
        text = value;
      },
    };
  }

  test("are the choices, without secrets, commands and the name", () => {
    const kept = memory();
    const wishes: Wishes = {
      ...NO_WISHES,
      program: "custom",
      command: "mysql -phunter2",
      name: "mine",
      lifetime: "900",
      env: [{ name: "TOKEN", value: "hunter2" }],
    };
    remember(wishes, kept);
    expect(kept.text).not.toMatch(/hunter2|mine/);
    expect(recall(kept)).toEqual({ ...wishes, command: "", name: "", env: [{ name: "TOKEN", value: "" }] });
  });

  test.each(["null", "7", "[]", "{", '{"env":7,"keepalive":"yes","labels":[{"name":1}],"sizing":"moon"}'])(
    "as %s is forgotten",
    (text) => expect(recall(memory(text))).toEqual(NO_WISHES),
  );

  test("by no storage is nothing", () => {
    remember(NO_WISHES, null);
    expect(recall(null)).toEqual(NO_WISHES);
  });
});
