/** Types of docker-engine.mjs. */

/** Version of the engine that answers, or undefined. */
export declare function engineVersion(): string | undefined
/** The engine that answers, else one started here, installed if need be and allowed. */
export declare function startEngine(): Promise<{ version: string; startedHere: boolean }>
/** Ends the engine that was started here, and with it its containers. */
export declare function stopEngine(): Promise<void>
/** PERDURE_TEST_RUN of who started the engine that runs from here; undefined when there is none. */
export declare function startedBy(): string | undefined
