/** Which Temporal release Perdure gets when there is none, and what it takes from one that is there. */
import type { Environment } from './cache.ts'

/** The release that is downloaded or built. Its server is 1.29.1. */
export const temporalVersion = 'v1.5.1'
/** The oldest server that Perdure runs on: priority and fairness of task queues. */
export const oldestServer = '1.29.0'

/** Gets an executable into `target`; throws an error with a one-line reason when it cannot. */
export type Provide = (target: string, env: Environment, say: (line: string) => void) => Promise<void>
