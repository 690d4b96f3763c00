/** Types of helm.mjs. */

/** Path of helm, or undefined where it has not been built. */
export declare function helmProgram(): string | undefined
/** Path of the definition of KEDA's ScaledObject (YAML), or undefined where it is not there. */
export declare function scaledObjectDefinition(): string | undefined
export declare function provide(limitMs?: number): Promise<string>
