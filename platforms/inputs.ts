/** Makes a request's inputs final for its platform (prediction-agent specification, 2.1). Owns `upload_webhook`, nothing else. */
import type { ModelTarget } from './platform.ts'

/**
 * KServe V1 and the k8s plugin are told where a model uploads its files, whatever the caller wrote there; replicate
 * and runpod must not see that key; V2 bodies stay as they are.
 */
export function finalInputs(
  inputs: Readonly<Record<string, unknown>>,
  target: Pick<ModelTarget, 'platform' | 'protocol'>,
  uploadWebhook: string,
): Readonly<Record<string, unknown>> {
  switch (target.platform) {
    case 'kserve':
      return target.protocol === 'v2' ? inputs : { ...inputs, upload_webhook: uploadWebhook }
    case 'k8s':
      return { ...inputs, upload_webhook: uploadWebhook }
    case 'replicate':
    case 'runpod': {
      const { upload_webhook: _, ...rest } = inputs
      return rest
    }
    case 'v2':
      return inputs
  }
}
