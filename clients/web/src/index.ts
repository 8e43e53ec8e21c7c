export * from "./client/index.ts";
export * from "./element/index.ts";
