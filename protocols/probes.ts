/** Which probe speaks to which kind of serving binary. */
import type { BinaryKind } from '../contracts/validation-serving.ts'
import { cogProbe } from './cog.ts'
import { customProbe } from './custom.ts'
import type { Probe } from './probe.ts'
import { kserveV1Probe } from './probe-kserve-v1.ts'
import { mlrunV2Probe } from './probe-mlrun-v2.ts'
import { openInferenceProbe } from './probe-open-inference.ts'
import { tensorflowProbe } from './tensorflow-serving.ts'

export const probes = {
  tensorflow_serving: tensorflowProbe,
  'open-inference-v2': openInferenceProbe,
  'kserve-v1': kserveV1Probe,
  cog: cogProbe,
  'mlrun-v2': mlrunV2Probe,
  custom: customProbe,
} as const satisfies Record<BinaryKind, Probe>
