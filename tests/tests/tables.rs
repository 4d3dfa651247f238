//! Arrow and pandas, on clusters whose workers have them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use dask_client::{ArrowBatch, ArrowTable, Data, Future, Gathered, PandasFrame, py, python};
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
        // Every sort of column, with an index that has a name, and a part of a batch.
        let make = "
            import pandas
            return pandas.DataFrame({
                'c': pandas.Categorical(['x', 'y', 'x', None]),
                't': pandas.to_datetime(['2024-02-29 12:00', None, '2024-03-01 00:00', '1969-12-31 23:59']).tz_localize('Europe/Berlin'),
                'l': [[[1, 2], []], [], None, [[3]]],
                'b': [True, False, True, False],
            }, index=pandas.Index([10, 20, 30, 40], name='id')).iloc[:4]
        ";
        let frame: Future<Gathered> = client.submit(python(make)).await.unwrap();
        let table = frame.to_arrow().await.unwrap();
        let columns = &table.batches[0];
        assert_eq!(columns["id"].as_primitive::<Int64Type>().values(), &[10, 20, 30, 40], "{release}");
        let words = columns["c"].as_any_dictionary();
        // Newer pandas has large strings.
        let words_of = words.values();
        let texts: Vec<Option<&str>> = match words_of.as_string_opt::<i32>() {
            Some(texts) => texts.iter().collect(),
            None => words_of.as_string::<i64>().iter().collect(),
        };
        assert_eq!(texts, [Some("x"), Some("y")]);
        assert_eq!((words.normalized_keys()[..3].to_vec(), words.keys().null_count()), (vec![0, 1, 0], 1));
        match columns["t"].data_type() {
            DataType::Timestamp(_, Some(zone)) => assert_eq!(&**zone, "Europe/Berlin"),
            other => panic!("{release}: {other}"),
        }
        assert_eq!(columns["t"].null_count(), 1);
        let lists = columns["l"].as_list::<i32>();
        let inner = lists.value(0);
        assert_eq!((lists.null_count(), inner.as_list::<i32>().value_length(0)), (1, 2), "{release}");
        let check = python(
            "
            import pandas
            f = t.to_pandas() if hasattr(t, 'to_pandas') else t
            return [f['c'].dtype.name, str(f['t'].dt.tz), f.index.name or '', str(f['l'].iloc[-1][-1][-1]), str(len(f))]
        ",
        );
        let found: [String; 5] = client.call(check.clone().kwarg("t", &table)).await.unwrap();
        assert_eq!(found, ["category", "Europe/Berlin", "id", "3", "4"], "{release}");
        let found: [String; 5] =
            client.call(check.clone().kwarg("t", PandasFrame::new(columns.slice(3, 1)))).await.unwrap();
        assert_eq!(found, ["category", "Europe/Berlin", "id", "3", "1"], "{release}");

        // Scattered, as each class.
        let table: Future<Gathered> = client.scatter(Data::arrow(batch())).await.unwrap();
        let part: Future<Gathered> =
            client.scatter(Data::arrow_batch(&ArrowBatch(batch().slice(1, 2)))).await.unwrap();
        let frame: Future<Gathered> = client.scatter(Data::value(&PandasFrame::new(batch()))).await.unwrap();
        for (name, future, rows) in
            [("pyarrow.Table", &table, 3), ("pyarrow.RecordBatch", &part, 2), ("pandas.DataFrame", &frame, 3)]
        {
            let found: [String; 3] = client.call(describe.clone().kwarg("t", future)).await.unwrap();
            let (x, s) = if rows == 3 {
                ("[0.5, 1.5, -2.0]", "['a', 'ü', '']")
            } else {
                ("[1.5, -2.0]", "['ü', '']")
            };
            assert_eq!(found, [name, x, s], "{release}");
            assert_eq!(future.to_arrow().await.unwrap().rows(), rows, "{release}");
        }

        // Tables as parts of results.
        let (table, n): (ArrowTable, i64) =
            client.call(python("import pyarrow\nreturn pyarrow.table({'a': [1, 2]}), 7")).await.unwrap();
        assert_eq!((table.rows(), n), (2, 7), "{release}");
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

/// Makes pandas as good as missing.
const HIDE: &str = "
import sys
class Hidden:
    @staticmethod
    def find_spec(name, *_):
        if name.split('.')[0] == 'pandas':
            raise ModuleNotFoundError('no pandas here')
sys.meta_path.insert(0, Hidden)
return 'pandas' in sys.modules
";

#[tokio::test]
async fn a_dict_is_a_table_without_pandas() {
    for release in releases_or(&["2.30.1", "2026.8.0"]) {
        let packages = |builder: dask_local::ClusterBuilder| builder.extra_packages(["pandas", "pyarrow"]);
        let cluster = TestCluster::start_with(&release, Protocol::Tcp, packages).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let there: bool = client.call(python(HIDE).workers(["first"])).await.unwrap();
        assert!(!there, "{release}: a worker has pandas before anybody asked for it");
        let call = |text: &str| python(text).workers(["first"]);
        let error = client.call::<()>(call("import pandas")).await.unwrap_err();
        assert!(error.to_string().contains("no pandas here"), "{error}");
        let table =
            client.call::<Gathered>(call("return {'a': [1, 2], 's': ['x', None]}")).to_arrow().await.unwrap();
        assert_eq!(table.rows(), 2, "{release}");
        assert_eq!(table.batches[0]["a"].as_primitive::<Int64Type>().values(), &[1, 2]);
        let error = client.call::<Gathered>(call("return 1j")).to_arrow().await.unwrap_err();
        assert!(error.to_string().contains("builtins.complex is no table"), "{error}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}
