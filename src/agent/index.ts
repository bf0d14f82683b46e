export { react, type AgentEvent, type AgentResult, type ReactOptions } from "./loops/react.ts";
export { rewrite, type Draft, type RewriteOptions } from "./loops/rewrite.ts";
export { callTool, definitionOf, defineTool, type Tool, type ToolOutcome } from "./tool.ts";
