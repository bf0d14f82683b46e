export {
  checkQuatrain,
  poemLines,
  ruleNames,
  ruleTitles,
  type Fault,
  type QuatrainCheck,
  type RuleName,
} from "./quatrain.ts";
export { charactersRhymingWith, nearlyRhymes, rhymeGroupsOf, rhymes, toneMarks, toneOf, type Tone } from "./tones.ts";
