package kit;

import static org.elasticsearch.rest.RestUtils.getAckTimeout;
import static org.elasticsearch.rest.RestUtils.getMasterNodeTimeout;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.support.ActionFilters;
import org.elasticsearch.action.support.HandledTransportAction;
import org.elasticsearch.action.support.master.AcknowledgedResponse;
import org.elasticsearch.action.support.master.TransportMasterNodeAction;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.AckedClusterStateUpdateTask;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.NamedDiff;
import org.elasticsearch.cluster.block.ClusterBlockException;
import org.elasticsearch.cluster.block.ClusterBlockLevel;
import org.elasticsearch.cluster.metadata.ItemUsage;
import org.elasticsearch.cluster.metadata.Metadata;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.util.concurrent.EsExecutors;
import org.elasticsearch.injection.guice.Inject;
import org.elasticsearch.plugins.ActionPlugin.ActionHandler;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestRequest.Method;
import org.elasticsearch.rest.action.RestChunkedToXContentListener;
import org.elasticsearch.rest.action.RestToXContentListener;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.transport.TransportService;
import org.elasticsearch.xcontent.NamedXContentRegistry;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentParser;
import org.elasticsearch.xpack.core.ilm.AllocateAction;
import org.elasticsearch.xpack.core.ilm.DeleteAction;
import org.elasticsearch.xpack.core.ilm.ForceMergeAction;
import org.elasticsearch.xpack.core.ilm.IndexLifecycleMetadata;
import org.elasticsearch.xpack.core.ilm.LifecycleAction;
import org.elasticsearch.xpack.core.ilm.LifecyclePolicy;
import org.elasticsearch.xpack.core.ilm.LifecyclePolicyMetadata;
import org.elasticsearch.xpack.core.ilm.LifecycleSettings;
import org.elasticsearch.xpack.core.ilm.LifecycleType;
import org.elasticsearch.xpack.core.ilm.MigrateAction;
import org.elasticsearch.xpack.core.ilm.OperationMode;
import org.elasticsearch.xpack.core.ilm.ReadOnlyAction;
import org.elasticsearch.xpack.core.ilm.RolloverAction;
import org.elasticsearch.xpack.core.ilm.SetPriorityAction;
import org.elasticsearch.xpack.core.ilm.ShrinkAction;
import org.elasticsearch.xpack.core.ilm.TimeseriesLifecycleType;
import org.elasticsearch.xpack.core.ilm.UnfollowAction;
import org.elasticsearch.xpack.core.ilm.WaitForSnapshotAction;
import org.elasticsearch.xpack.core.ilm.action.GetLifecycleAction;
import org.elasticsearch.xpack.core.ilm.action.ILMActions;
import org.elasticsearch.xpack.core.ilm.action.PutLifecycleRequest;

/**
 * {@code /_ilm/policy}: policies are read by Elasticsearch's own classes, kept in the cluster state, and given out under
 * the real actions' names, so that the same privileges are asked for. They are never executed: no index ages here.
 */
public final class Lifecycle {
    static final Collection<ActionHandler> ACTIONS = List.of(
        new ActionHandler(ILMActions.PUT, Put.class),
        new ActionHandler(GetLifecycleAction.INSTANCE, Get.class)
    );

    /** What an index may have in its settings. */
    static final List<Setting<?>> SETTINGS = List.of(
        LifecycleSettings.LIFECYCLE_NAME_SETTING,
        LifecycleSettings.LIFECYCLE_INDEXING_COMPLETE_SETTING,
        RolloverAction.LIFECYCLE_ROLLOVER_ALIAS_SETTING
    );

    static final List<NamedXContentRegistry.Entry> PARSERS = List.of(
        new NamedXContentRegistry.Entry(
            Metadata.ProjectCustom.class,
            new ParseField(IndexLifecycleMetadata.TYPE),
            parser -> IndexLifecycleMetadata.PARSER.parse(parser, null)
        ),
        new NamedXContentRegistry.Entry(
            LifecycleType.class,
            new ParseField(TimeseriesLifecycleType.TYPE),
            parser -> TimeseriesLifecycleType.INSTANCE
        ),
        action(RolloverAction.NAME, RolloverAction::parse),
        action(DeleteAction.NAME, DeleteAction::parse),
        action(ForceMergeAction.NAME, ForceMergeAction::parse),
        action(ShrinkAction.NAME, ShrinkAction::parse),
        action(ReadOnlyAction.NAME, ReadOnlyAction::parse),
        action(SetPriorityAction.NAME, SetPriorityAction::parse),
        action(AllocateAction.NAME, AllocateAction::parse),
        action(MigrateAction.NAME, MigrateAction::parse),
        action(UnfollowAction.NAME, UnfollowAction::parse),
        action(WaitForSnapshotAction.NAME, WaitForSnapshotAction::parse)
    );

    /** What x-pack-core does not register by itself. */
    static final List<NamedWriteableRegistry.Entry> WRITEABLES = List.of();

    private interface ActionParser {
        LifecycleAction parse(XContentParser parser) throws IOException;
    }

    private static NamedXContentRegistry.Entry action(String name, ActionParser parse) {
        return new NamedXContentRegistry.Entry(LifecycleAction.class, new ParseField(name), parse::parse);
    }

    private static Map<String, LifecyclePolicyMetadata> policies(ClusterState state) {
        IndexLifecycleMetadata metadata = state.metadata().getDefaultProject().custom(IndexLifecycleMetadata.TYPE);
        return metadata == null ? Map.of() : metadata.getPolicyMetadatas();
    }

    /** Puts a policy into the cluster state, which the master alone may do; one that is there as it is stays as it is. */
    public static final class Put extends TransportMasterNodeAction<PutLifecycleRequest, AcknowledgedResponse> {
        @Inject
        public Put(
            TransportService transportService,
            ActionFilters filters,
            ClusterService clusterService,
            ThreadPool threadPool
        ) {
            super(
                ILMActions.PUT.name(),
                transportService,
                clusterService,
                threadPool,
                filters,
                PutLifecycleRequest::new,
                AcknowledgedResponse::readFrom,
                EsExecutors.DIRECT_EXECUTOR_SERVICE
            );
        }

        @Override
        protected ClusterBlockException checkBlock(PutLifecycleRequest request, ClusterState state) {
            return state.blocks().globalBlockedException(ClusterBlockLevel.METADATA_WRITE);
        }

        @Override
        protected void masterOperation(
            Task task,
            PutLifecycleRequest request,
            ClusterState current,
            ActionListener<AcknowledgedResponse> listener
        ) {
            LifecyclePolicy policy = request.getPolicy();
            policy.validate();
            clusterService.submitUnbatchedStateUpdateTask("put lifecycle policy", new AckedClusterStateUpdateTask(request, listener) {
                @Override
                public ClusterState execute(ClusterState state) {
                    LifecyclePolicyMetadata old = policies(state).get(policy.getName());
                    if (old != null && old.getPolicy().equals(policy)) {
                        return state;
                    }
                    Map<String, LifecyclePolicyMetadata> policies = new TreeMap<>(policies(state));
                    long version = old == null ? 1 : old.getVersion() + 1;
                    policies.put(
                        policy.getName(),
                        new LifecyclePolicyMetadata(policy, Map.of(), version, System.currentTimeMillis())
                    );
                    IndexLifecycleMetadata metadata = new IndexLifecycleMetadata(policies, OperationMode.STOPPED);
                    return state.copyAndUpdateProject(
                        state.metadata().getDefaultProject().id(),
                        project -> project.putCustom(IndexLifecycleMetadata.TYPE, metadata)
                    );
                }
            });
        }
    }

    /** Gives out the policies that are named, or all. */
    public static final class Get extends HandledTransportAction<GetLifecycleAction.Request, GetLifecycleAction.Response> {
        private final ClusterService clusterService;

        @Inject
        public Get(TransportService transportService, ActionFilters filters, ClusterService clusterService) {
            super(
                GetLifecycleAction.NAME,
                transportService,
                filters,
                GetLifecycleAction.Request::new,
                EsExecutors.DIRECT_EXECUTOR_SERVICE
            );
            this.clusterService = clusterService;
        }

        @Override
        protected void doExecute(
            Task task,
            GetLifecycleAction.Request request,
            ActionListener<GetLifecycleAction.Response> listener
        ) {
            ActionListener.completeWith(listener, () -> {
                Map<String, LifecyclePolicyMetadata> policies = policies(clusterService.state());
                String[] named = request.getPolicyNames();
                Collection<String> names = named.length == 0 ? policies.keySet() : List.of(named);
                List<GetLifecycleAction.LifecyclePolicyResponseItem> items = new ArrayList<>();
                for (String name : names) {
                    LifecyclePolicyMetadata found = policies.get(name);
                    if (found == null) {
                        throw new ResourceNotFoundException("Lifecycle policy not found: {}", name);
                    }
                    items.add(
                        new GetLifecycleAction.LifecyclePolicyResponseItem(
                            found.getPolicy(),
                            found.getVersion(),
                            found.getModifiedDateString(),
                            new ItemUsage(List.of(), List.of(), List.of())
                        )
                    );
                }
                return new GetLifecycleAction.Response(items);
            });
        }
    }

    static final class Rest extends BaseRestHandler {
        @Override
        public String getName() {
            return "stand_in_lifecycle";
        }

        @Override
        public List<Route> routes() {
            return List.of(
                new Route(Method.PUT, "/_ilm/policy/{name}"),
                new Route(Method.GET, "/_ilm/policy/{name}"),
                new Route(Method.GET, "/_ilm/policy")
            );
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) throws IOException {
            String name = request.param("name");
            if (request.method() == Method.PUT) {
                PutLifecycleRequest put;
                try (XContentParser parser = request.contentParser()) {
                    put = PutLifecycleRequest.parseRequest(new PutLifecycleRequest.Factory() {
                        @Override
                        public PutLifecycleRequest create(LifecyclePolicy policy) {
                            return new PutLifecycleRequest(getMasterNodeTimeout(request), getAckTimeout(request), policy);
                        }

                        @Override
                        public String getPolicyName() {
                            return name;
                        }
                    }, parser);
                }
                return channel -> client.execute(ILMActions.PUT, put, new RestToXContentListener<>(channel));
            }
            GetLifecycleAction.Request get = new GetLifecycleAction.Request(
                getMasterNodeTimeout(request),
                Strings.splitStringByCommaToArray(name)
            );
            return channel -> client.execute(GetLifecycleAction.INSTANCE, get, new RestChunkedToXContentListener<>(channel));
        }
    }

    private Lifecycle() {}
}
