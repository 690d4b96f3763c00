/** Model endpoint records and the store they are kept in (specification 5.3). A store that fails stops no model. */

import { endpointUid, modelString, parseFunctionUri } from './function-uri.ts'

export interface EndpointRecord {
  kind: 'model-endpoint'
  metadata: { project: string; uid: string; labels: Record<string, unknown> }
  spec: {
    function_uri: string
    /** `name:version` or `name:latest`. */
    model: string
    model_class: string
    model_uri: string
    stream_path: string
    active: boolean
    monitoring_mode: 'enabled' | 'disabled'
    feature_names: string[]
    label_names: string[]
    algorithm: string
    monitor_configuration: Record<string, unknown>
  }
  status: {
    /** 1 alone, 2 router, 3 child of an ensemble. */
    endpoint_type: 1 | 2 | 3
    children: string[]
    children_uids: string[]
    first_request: string
    last_request: string
    error_count: number
    drift_status: string
    metrics: { generic: { latency_avg_1h: number; predictions_per_second: number } }
  }
}

/** Fields of `spec` that change under an existing record. */
export type EndpointAttributes = Partial<Pick<EndpointRecord['spec'], 'model_uri' | 'monitoring_mode'>>

/** Where endpoint records live; any of its methods may reject. */
export interface EndpointStore {
  /** Nullish when there is none. */
  get(project: string, uid: string): Promise<EndpointRecord | null | undefined>
  create(record: EndpointRecord): Promise<unknown>
  patch(project: string, uid: string, attributes: EndpointAttributes): Promise<unknown>
}

/** Keeps records as long as the process lives. */
export class MemoryEndpointStore implements EndpointStore {
  /** Keyed `project/uid`. */
  readonly records = new Map<string, EndpointRecord>()

  async get(project: string, uid: string): Promise<EndpointRecord | undefined> {
    return this.records.get(`${project}/${uid}`)
  }

  async create(record: EndpointRecord): Promise<void> {
    this.records.set(`${record.metadata.project}/${record.metadata.uid}`, structuredClone(record))
  }

  async patch(project: string, uid: string, attributes: EndpointAttributes): Promise<void> {
    const record = this.records.get(`${project}/${uid}`)
    if (!record) throw new Error(`no model endpoint ${uid} in project ${project}`)
    Object.assign(record.spec, attributes)
  }
}

/** What a server knows of a model when it registers its endpoint. */
export interface EndpointDescription {
  functionUri: string
  name: string
  version: string
  modelClass: string
  modelPath: string
  streamPath: string
  trackModels: boolean
  labels?: Record<string, unknown>
  endpointType?: 1 | 2 | 3
  /** Of an ensemble: its route keys and their endpoints' uids. */
  children?: { names: string[]; uids: string[] }
}

/** Throws `ValueError` for a function URI that cannot be parsed. */
export function endpointRecord(endpoint: EndpointDescription): EndpointRecord {
  const model = modelString(endpoint.name, endpoint.version)
  return {
    kind: 'model-endpoint',
    metadata: {
      project: parseFunctionUri(endpoint.functionUri).project,
      uid: endpointUid(endpoint.functionUri, model),
      labels: { ...endpoint.labels },
    },
    spec: {
      function_uri: endpoint.functionUri,
      model,
      model_class: endpoint.modelClass,
      model_uri: endpoint.modelPath,
      stream_path: endpoint.streamPath,
      active: true,
      monitoring_mode: endpoint.trackModels ? 'enabled' : 'disabled',
      feature_names: [],
      label_names: [],
      algorithm: '',
      monitor_configuration: {},
    },
    status: {
      endpoint_type: endpoint.endpointType ?? 1,
      children: endpoint.children?.names ?? [],
      children_uids: endpoint.children?.uids ?? [],
      first_request: '',
      last_request: '',
      error_count: 0,
      drift_status: '',
      metrics: { generic: { latency_avg_1h: 0, predictions_per_second: 0 } },
    },
  }
}

/**
 * Creates the endpoint's record, or patches what differs in an existing one. Resolves to the uid, undefined when the
 * function URI cannot be parsed. Never rejects: `onError` gets what failed and the model serves on.
 */
export async function registerEndpoint(
  store: EndpointStore,
  endpoint: EndpointDescription,
  onError: (error: unknown) => void = () => {},
): Promise<string | undefined> {
  let uid: string | undefined
  try {
    const record = endpointRecord(endpoint)
    const { project } = record.metadata
    uid = record.metadata.uid
    const known = await store.get(project, uid)
    if (!known) await store.create(record)
    else {
      const changes = changed(known.spec, record.spec)
      if (Object.keys(changes).length > 0) await store.patch(project, uid, changes)
    }
  } catch (error) {
    onError(error)
  }
  return uid
}

function changed(known: EndpointRecord['spec'], now: EndpointRecord['spec']): EndpointAttributes {
  return {
    ...(known.model_uri === now.model_uri ? {} : { model_uri: now.model_uri }),
    ...(known.monitoring_mode === now.monitoring_mode ? {} : { monitoring_mode: now.monitoring_mode }),
  }
}
