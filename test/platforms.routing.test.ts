/** Names to platforms: the models file, `ML_PLATFORM` behind it, Replicate's names, and what is refused. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { codeOf } from '../contracts/errors.ts'
import { ModelsFile } from '../contracts/models.ts'
import { finalInputs, takesUploads, withUploadAddress } from '../platforms/inputs.ts'
import type { PlatformSettings } from '../platforms/platform.ts'
import { makeRouting, readModelsFile } from '../platforms/routing.ts'

const secret = { reveal: () => 'key' }
const settings: Record<PlatformSettings['platform'], PlatformSettings> = {
  v2: { platform: 'v2', address: '127.0.0.1:8080', protocol: 'mlrun', timeoutMs: 300_000 },
  k8s: { platform: 'k8s', address: '127.0.0.1:8002', timeoutMs: 300_000 },
  kserve: {
    platform: 'kserve',
    address: '127.0.0.1:8081',
    customDomain: 'example.com',
    namespace: 'default',
    version: '0.10.2',
    protocol: 'v1',
    timeoutMs: 300_000,
  },
  replicate: {
    platform: 'replicate',
    address: 'https://api.replicate.com/v1/predictions',
    apiKey: secret,
    modelId: '22c9',
    timeoutMs: 300_000,
  },
  runpod: {
    platform: 'runpod',
    address: 'https://api.runpod.ai/v2',
    apiKey: secret,
    modelId: 'endpoint1',
    timeoutMs: 300_000,
  },
}
const platforms = Object.values(settings)

function file(models: Record<string, unknown>): ModelsFile {
  return ModelsFile.parse({ models })
}

function codeOfCall(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return codeOf(error)
  }
  return 'none'
}

async function written(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'models-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'models.yaml')
  await writeFile(path, text)
  return path
}

describe('without a models file', () => {
  test.each(['v2', 'k8s', 'kserve'] as const)('every name goes to %s', (platform) => {
    const routing = makeRouting({ fallback: settings[platform], explicitFallback: false })
    expect(routing.resolve('iris')).toMatchObject({
      name: 'iris',
      upstreamName: 'iris',
      version: '',
      platform,
      address: settings[platform].address,
      timeoutMs: 300_000,
    })
    expect(routing.list()).toEqual([])
  })

  test.each(['replicate', 'runpod'] as const)('every name is the configured model on %s', (platform) => {
    const routing = makeRouting({ fallback: settings[platform], explicitFallback: true })
    const { modelId } = settings[platform] as { modelId: string }
    expect(routing.resolve('owner/name')).toMatchObject({
      name: 'owner/name',
      upstreamName: modelId,
      protocol: '',
    })
  })

  test('names that KServe cannot take are refused', () => {
    const routing = makeRouting({ fallback: settings.kserve, explicitFallback: true })
    for (const name of ['a/../b', 'a?x', 'a%2fb', 'a@b', '..', '-a']) {
      expect(
        codeOfCall(() => routing.resolve(name)),
        name,
      ).toBe('invalid_input')
    }
    expect(routing.resolve('A.b_c-9').upstreamName).toBe('A.b_c-9')
  })

  test('elsewhere any printable name is taken', () => {
    const routing = makeRouting({ fallback: settings.v2, explicitFallback: true })
    expect(routing.resolve('owner/näme 1').name).toBe('owner/näme 1')
    for (const name of ['a\nb', '\u0000', '..', 'x'.repeat(1025), '\ud800']) {
      expect(codeOfCall(() => routing.resolve(name))).toBe('invalid_input')
    }
  })
})

describe('with a models file', () => {
  const models = file({
    iris: { platform: 'v2', timeout: '30s', concurrency: 4, gate: 'required', versions: ['1', 2] },
    flowers: { platform: 'kserve', upstream_name: 'iris-v2', protocol: 'v2', address: 'gateway:80' },
    'acme/cat': { platform: 'replicate', upstream_name: 'abc', timeout: 60 },
  })

  test('a line overrides the settings of its platform', () => {
    const routing = makeRouting({ explicitFallback: false, models, platforms })
    expect(routing.resolve('iris')).toEqual({
      name: 'iris',
      version: '',
      platform: 'v2',
      address: '127.0.0.1:8080',
      upstreamName: 'iris',
      protocol: 'mlrun',
      timeoutMs: 30_000,
      versions: ['1', '2'],
      gate: 'required',
      concurrency: 4,
    })
    expect(routing.resolve('flowers')).toMatchObject({
      address: 'gateway:80',
      upstreamName: 'iris-v2',
      protocol: 'v2',
    })
    expect(routing.resolve('acme/cat')).toMatchObject({ upstreamName: 'abc', timeoutMs: 60_000 })
    expect(routing.list().map(({ name }) => name)).toEqual(['iris', 'flowers', 'acme/cat'])
  })

  test('a name that is not listed is unknown, unless ML_PLATFORM was set', () => {
    const strict = makeRouting({ fallback: settings.v2, explicitFallback: false, models, platforms })
    expect(codeOfCall(() => strict.resolve('rose'))).toBe('model_unknown')
    const open = makeRouting({ fallback: settings.k8s, explicitFallback: true, models, platforms })
    expect(open.resolve('rose').platform).toBe('k8s')
    expect(open.resolve('iris').platform).toBe('v2')
    expect(codeOfCall(() => makeRouting({ explicitFallback: false }).resolve('rose'))).toBe('model_unknown')
  })

  test('names of objects are no models', () => {
    const routing = makeRouting({ explicitFallback: false, models, platforms })
    for (const name of ['constructor', '__proto__', 'toString']) {
      expect(codeOfCall(() => routing.resolve(name))).toBe('model_unknown')
    }
  })

  test("Replicate's version is a model or one of its versions", () => {
    const routing = makeRouting({ explicitFallback: false, models, platforms })
    expect(routing.resolveVersion('iris')).toMatchObject({ name: 'iris', version: '' })
    expect(routing.resolveVersion('2')).toMatchObject({ name: 'iris', version: '2' })
    expect(codeOfCall(() => routing.resolveVersion('3'))).toBe('model_unknown')
  })

  test("Replicate's owner and name are looked up as such, then below perdure", () => {
    const routing = makeRouting({ explicitFallback: false, models, platforms })
    expect(routing.resolveOwned('acme', 'cat').name).toBe('acme/cat')
    expect(routing.resolveOwned('perdure', 'iris').name).toBe('iris')
    expect(codeOfCall(() => routing.resolveOwned('acme', 'iris'))).toBe('model_unknown')
    expect(codeOfCall(() => routing.resolveOwned('perdure', 'rose'))).toBe('model_unknown')
    const kserve = makeRouting({ fallback: settings.kserve, explicitFallback: true })
    expect(kserve.resolveOwned('perdure', 'iris').name).toBe('iris')
    expect(codeOfCall(() => kserve.resolveOwned('acme', 'iris'))).toBe('model_unknown')
  })

  test('an update replaces the table, and a bad one leaves the old', () => {
    const routing = makeRouting({ explicitFallback: false, models, platforms })
    routing.update(file({ rose: { platform: 'v2' } }))
    expect(routing.resolve('rose').platform).toBe('v2')
    expect(codeOfCall(() => routing.resolve('iris'))).toBe('model_unknown')
    const bad = file({ tulip: { platform: 'v2' }, 'not/kserve': { platform: 'kserve' } })
    expect(codeOfCall(() => routing.update(bad))).toBe('invalid_input')
    expect(routing.list().map(({ name }) => name)).toEqual(['rose'])
  })

  test('a line without an address needs settings of its platform', () => {
    const lacking = () =>
      makeRouting({ explicitFallback: false, models: file({ iris: { platform: 'k8s' } }) })
    expect(lacking).toThrow('models."iris": address is required for platform k8s')
  })
})

describe('reading a models file', () => {
  test('YAML and JSON are read alike', async () => {
    const yaml = await written('models:\n  iris: {platform: v2, gate: off, timeout: 30s}\n')
    const text = await written('{"models":{"iris":{"platform":"v2","gate":"off","timeout":"30s"}}}')
    expect(await readModelsFile(yaml)).toEqual(await readModelsFile(text))
    expect((await readModelsFile(yaml)).models.iris?.gate).toBe('off')
  })

  test.each([
    ['not YAML', 'models: {iris: [', 'models file'],
    ['empty', '', 'file: '],
    ['an unknown platform', 'models: {iris: {platform: aws}}', 'models.iris.platform'],
    ['an unknown member', 'models: {iris: {platform: v2, adress: "x:1"}}', 'adress'],
    ['a duration that is none', 'models: {iris: {platform: v2, timeout: soon}}', 'models.iris.timeout'],
    ['no time at all', 'models: {iris: {platform: v2, timeout: 0s}}', 'models.iris.timeout'],
    [
      'a protocol of another platform',
      'models: {iris: {platform: k8s, protocol: v1}}',
      'models.iris.protocol',
    ],
    ['an address with a path', 'models: {iris: {platform: v2, address: "a:1/b"}}', 'models.iris.address'],
    ['an address for a key', 'models: {iris: {platform: runpod, address: "a:1"}}', 'RUNPOD_ADDRESS'],
    [
      'a digest that is none',
      'models: {iris: {platform: v2, model_digest: abc}}',
      'models.iris.model_digest',
    ],
    [
      'one version twice',
      'models: {a: {platform: v2, versions: [1]}, b: {platform: v2, versions: ["1"]}}',
      '1 already names a version of a',
    ],
    ['a version named like a model', 'models: {a: {platform: v2, versions: [a]}}', 'a already names a model'],
  ])('a file with %s is refused and the fault is named', async (_what, text, fault) => {
    await expect(readModelsFile(await written(text))).rejects.toThrow(fault)
  })

  test('all faults are named at once', async () => {
    const path = await written('models: {a: {platform: x}, b: {platform: v2, concurrency: 0}}')
    await expect(readModelsFile(path)).rejects.toThrow(/models\.a\.platform.*models\.b\.concurrency/)
  })

  test('a file that is not there is named', async () => {
    await expect(readModelsFile('/nowhere/models.yaml')).rejects.toThrow('/nowhere/models.yaml')
  })
})

describe('final inputs', () => {
  const given = { text: 'a', upload_webhook: 'http://evil/upload' }
  test.each([
    ['kserve', 'v1', { text: 'a', upload_webhook: 'http://here/upload' }],
    ['k8s', '', { text: 'a', upload_webhook: 'http://here/upload' }],
    ['kserve', 'v2', given],
    ['v2', 'mlrun', given],
    ['v2', 'oip', given],
    ['replicate', '', { text: 'a' }],
    ['runpod', '', { text: 'a' }],
  ] as const)('%s %s', (platform, protocol, expected) => {
    const target = { platform, protocol }
    const printed = JSON.stringify(finalInputs(given, target))
    const address = takesUploads(target) ? 'http://here/upload' : undefined
    expect(JSON.parse(withUploadAddress(printed, address))).toEqual(expected)
    expect(given.upload_webhook).toBe('http://evil/upload')
  })
})
