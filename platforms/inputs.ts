/** Makes a request's inputs final for its platform (prediction-agent specification, 2.1). Owns `upload_webhook`, nothing else. */
import type { ModelTarget } from './platform.ts'

type Served = Pick<ModelTarget, 'platform' | 'protocol'>

/** KServe V1 and the k8s plugin tell their models where to upload files; V2 bodies stay as they are. */
export function takesUploads({ platform, protocol }: Served): boolean {
  return platform === 'k8s' || (platform === 'kserve' && protocol !== 'v2')
}

/**
 * Without what the caller wrote as `upload_webhook`: where models upload, the address is ours to give
 * (`withUploadAddress`), and replicate and runpod must not see that key.
 */
export function finalInputs(
  inputs: Readonly<Record<string, unknown>>,
  target: Served,
): Readonly<Record<string, unknown>> {
  if (!takesUploads(target) && target.platform !== 'replicate' && target.platform !== 'runpod') return inputs
  const { upload_webhook: _, ...rest } = inputs
  return rest
}

/** Printed inputs with the address for uploads; unchanged without one. */
export function withUploadAddress(inputs: string, address: string | undefined): string {
  if (address === undefined) return inputs
  const more = `"upload_webhook":${JSON.stringify(address)}}`
  return inputs === '{}' ? `{${more}` : `${inputs.slice(0, -1)},${more}`
}
