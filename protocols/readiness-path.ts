/** The HTTP path on which each kind of server tells its model's readiness, for platforms that want to ask it too. */
import type { BinaryKind } from '../contracts/validation-serving.ts'
import { kserveV1Paths } from './kserve-v1.ts'
import { openInferencePaths } from './open-inference.ts'
import type { ServingBinary } from './serving-binary.ts'

/** Undefined where a GET and its status tell nothing: Cog answers 200 always, a custom rule may be a log line. */
export function readinessPath(modelName: string, binary: ServingBinary): string | undefined {
  const v2 = () => openInferencePaths.modelReady(modelName, binary.modelVersion)
  const v1 = () => kserveV1Paths.modelReady(modelName)
  const paths: Record<BinaryKind, () => string | undefined> = {
    tensorflow_serving: v1,
    'open-inference-v2': v2,
    'kserve-v1': v1,
    cog: () => undefined,
    'mlrun-v2': v2,
    custom: () => binary.readiness?.http?.path,
  }
  return paths[binary.kind]()
}
