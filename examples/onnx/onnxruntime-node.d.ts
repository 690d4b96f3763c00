/** The part of onnxruntime-node that this example uses, so that it type-checks before its packages are installed. */

declare module 'onnxruntime-node' {
  export type TensorType = 'float32' | 'float64' | 'int32' | 'int64' | 'uint8' | 'bool' | 'string'

  export class Tensor {
    constructor(type: string, data: unknown, dims: readonly number[])
    readonly type: TensorType
    readonly dims: readonly number[]
    readonly data: ArrayLike<number | bigint | boolean | string>
  }

  /** Dimensions that are not fixed have a name instead of a number. */
  export interface ValueMetadata {
    readonly name: string
    readonly isTensor: boolean
    readonly type: TensorType
    readonly shape: ReadonlyArray<number | string>
  }

  export class InferenceSession {
    static create(path: string): Promise<InferenceSession>
    readonly inputMetadata: readonly ValueMetadata[]
    readonly outputMetadata: readonly ValueMetadata[]
    run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>
    release(): Promise<void>
  }
}
