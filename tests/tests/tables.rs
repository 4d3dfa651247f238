//! Arrow and pandas, on clusters whose workers have them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Float64Array, Int64Array, RecordBatch, StringArray};
use dask_client::{ArrowBatch, ArrowTable, Future, Gathered, PandasFrame, py, python};
use dask_live_tests::{TestCluster, releases_or};
use dask_local::Protocol;

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as _),
        ("x", Arc::new(Float64Array::from(vec![0.5, 1.5, -2.0])) as _),
        ("s", Arc::new(StringArray::from(vec!["a", "ü", ""])) as _),
    ])
    .unwrap()
}

#[tokio::test]
async fn tables_go_both_ways() {
    for release in releases_or(&["2.30.1", "2022.7.1", "2026.8.0"]) {
        let packages = |builder: dask_local::ClusterBuilder| builder.extra_packages(["pandas", "pyarrow"]);
        let cluster = TestCluster::start_with(&release, Protocol::Tcp, packages).await.unwrap();
        let client = cluster.client().connect().await.unwrap();

        // pandas, converted where it lies.
        let make = "
            import pandas
            return pandas.DataFrame({'n': [1, 2, 3], 'x': [0.5, 1.5, 2.5], 's': ['a', 'b', None]})
        ";
        let frame: Future<Gathered> = client.submit(python(make)).await.unwrap();
        let table = frame.to_arrow().await.unwrap();
        assert_eq!((table.rows(), table.schema.fields().len()), (3, 3), "{release}");
        let columns = &table.batches[0];
        assert_eq!(columns["n"].as_primitive::<Int64Type>().values(), &[1, 2, 3]);
        assert_eq!(columns["x"].as_primitive::<Float64Type>().values(), &[0.5, 1.5, 2.5]);
        let series = py("operator:getitem").args((&frame, "x"));
        let table = client.call::<Gathered>(series).to_arrow().await.unwrap();
        assert_eq!((table.rows(), table.schema.field(0).name().as_str()), (3, "x"), "{release}");
        // One without rows keeps its schema; what is no table says so.
        let empty = client
            .call::<Gathered>(python("import pandas\nreturn pandas.DataFrame({'a': [1]})[:0]"))
            .to_arrow()
            .await
            .unwrap();
        assert_eq!((empty.rows(), empty.schema.fields().len()), (0, 1), "{release}");
        let error = client.call::<Gathered>(python("return 1j")).to_arrow().await.unwrap_err();
        assert!(error.to_string().contains("builtins.complex is no table"), "{error}");

        // Arrow as it is, and a table in many chunks.
        let chunked =
            "import pyarrow\nt = pyarrow.table({'a': [1, 2]})\nreturn pyarrow.concat_tables([t, t])";
        let table: ArrowTable = client.call(python(chunked)).await.unwrap();
        assert_eq!(table.rows(), 4);
        let table = client.call::<Gathered>(python(chunked)).to_arrow().await.unwrap();
        assert_eq!((table.rows(), table.batches.len()), (4, 1));
        let one: ArrowTable = client
            .call(python("import pyarrow\nreturn pyarrow.table({'a': [1, 2]}).to_batches()[0]"))
            .await
            .unwrap();
        assert_eq!(one.batches[0]["a"].as_primitive::<Int64Type>().values(), &[1, 2]);

        // Arguments of each class, seen by Python.
        let describe = python(
            "
            import pyarrow, pandas
            name = type(t).__module__.split('.')[0] + '.' + type(t).__name__
            rows = t.to_dict('list') if isinstance(t, pandas.DataFrame) else t.to_pydict()
            return [name, repr(rows['x']), repr(rows['s'])]
        ",
        );
        for (name, call) in [
            ("pyarrow.Table", describe.clone().kwarg("t", ArrowTable::from(batch()))),
            ("pyarrow.RecordBatch", describe.clone().kwarg("t", ArrowBatch(batch()))),
            ("pandas.DataFrame", describe.clone().kwarg("t", PandasFrame::new(batch()))),
        ] {
            let found: [String; 3] = client.call(call).await.unwrap();
            assert_eq!(found, [name, "[0.5, 1.5, -2.0]", "['a', 'ü', '']"], "{release}");
        }
        let sum: f64 = client
            .call(py("pandas:Series.sum").arg(py("operator:getitem").args((PandasFrame::new(batch()), "x"))))
            .await
            .unwrap();
        assert_eq!(sum, 0.0);
        // A table that came can be passed on.
        let kept: Gathered = client.call(python(chunked)).await.unwrap();
        let rows: i64 = client.call(python("return t.num_rows").kwarg("t", &kept)).await.unwrap();
        assert_eq!(rows, 4);
        let back: ArrowTable = client.call(py("copy:copy").arg(ArrowTable::from(batch()))).await.unwrap();
        assert_eq!(back.batches, [batch()]);

        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}
