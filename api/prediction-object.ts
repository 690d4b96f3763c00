/** The stored prediction as Replicate's object: its text is a contract, since webhooks carry it too. */
export { objectText, objectWords, outputText, ownedName } from '../contracts/prediction-text.ts'
